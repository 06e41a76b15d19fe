// A picture file → the tensor that a signature asks for.

const PICTURE_NAME = /image|picture|photo|jpe?g|png|bytes/i;
const MOST_PIXELS_A_SIDE = 512;

// How a signature takes pictures: {alias, kind, …}, or null if it does not.
export function pictureInput(signature) {
  const inputs = Object.entries(signature.inputs);
  if (inputs.length !== 1) return null;
  const [alias, tensor] = inputs[0];
  const sizes = shapeOf(tensor);
  if (tensor.dtype === "DT_STRING" && PICTURE_NAME.test(alias) && (!sizes || sizes.length <= 1)) {
    return { alias, kind: "bytes", isBatch: !sizes || sizes.length === 1 };
  }
  const isPixels = sizes && sizes.length === 4 && (sizes[3] === 3 || sizes[3] === 1);
  if (tensor.dtype === "DT_UINT8" && isPixels) {
    return { alias, kind: "pixels", height: sizes[1], width: sizes[2], channels: sizes[3] };
  }
  return null;
}

// The sizes of a tensor, -1 where any goes; null where even the rank is open.
export function shapeOf(tensor) {
  if (tensor.tensor_shape.unknown_rank) return null;
  return tensor.tensor_shape.dim.map((dim) => Number(dim.size));
}

// What is done to a picture before it is sent, in words.
export function pictureNote(input) {
  if (input.kind === "bytes") return "The file is sent as it is; the model decodes it.";
  if (input.height > 0 && input.width > 0) {
    return `Your browser decodes the picture and stretches it to ${input.width} × ${input.height} pixels.`;
  }
  return `Your browser decodes the picture; sides longer than ${MOST_PIXELS_A_SIDE} pixels are shortened.`;
}

// The value of the one input, as JSON wants it.
export async function pictureValue(input, file) {
  if (input.kind === "bytes") {
    const value = { b64: base64(new Uint8Array(await file.arrayBuffer())) };
    return input.isBatch ? [value] : value;
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can decode.`);
  }
  const scale = Math.min(1, MOST_PIXELS_A_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = input.width > 0 ? input.width : Math.max(1, Math.round(bitmap.width * scale));
  const height = input.height > 0 ? input.height : Math.max(1, Math.round(bitmap.height * scale));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0, width, height);
  const data = pen.getImageData(0, 0, width, height).data;
  const rows = [];
  for (let y = 0, i = 0; y < height; y++) {
    const row = [];
    for (let x = 0; x < width; x++, i += 4) {
      row.push(
        input.channels === 3
          ? [data[i], data[i + 1], data[i + 2]]
          : [Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2])],
      );
    }
    rows.push(row);
  }
  return [rows];
}

function base64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768) {
    text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  }
  return btoa(text);
}
