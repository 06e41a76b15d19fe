"""Taking steps back in event files, and what a kill leaves in them."""

import tensorflow as tf
from tensorboard.compat.proto import event_pb2

from garden.reports import event_files


def write(directory, steps, *, topic="epochs"):
    writer = tf.summary.create_file_writer(str(directory), filename_suffix=f".{topic}.v2")
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", 10.0 * step, step=step)
    writer.close()


def steps_in(directory, **options):
    """Steps of all summaries, read by TensorFlow's own reader, which checks every checksum."""
    return [
        event.step
        for path in event_files.event_files(directory, **options)
        for event in map(event_pb2.Event.FromString, tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        if event.summary.value
    ]


def test_steps_are_taken_back_and_the_others_stay(tmp_path):
    write(tmp_path, [1, 2, 3, 4, 5])
    event_files.drop_steps(tmp_path, topic="epochs", first_step=4)
    assert steps_in(tmp_path) == [1, 2, 3]


def test_other_topics_stay(tmp_path):
    write(tmp_path, [7, 8], topic="images")
    write(tmp_path, [1, 2])
    event_files.drop_steps(tmp_path, topic="epochs", first_step=0)
    assert steps_in(tmp_path, topic="epochs") == []
    assert steps_in(tmp_path, topic="images") == [7, 8]


def test_half_an_event_at_the_end_goes(tmp_path):
    write(tmp_path, [1, 2, 3])
    (path,) = event_files.event_files(tmp_path)
    whole = path.read_bytes()
    for missing in (1, 5, 13, 30):
        path.write_bytes(whole[:-missing])
        event_files.drop_steps(tmp_path, topic="epochs", first_step=9)
        assert steps_in(tmp_path) == [1, 2]


def test_a_file_that_needs_no_change_is_not_written(tmp_path):
    write(tmp_path, [1, 2, 3])
    (path,) = event_files.event_files(tmp_path)
    before = path.stat()
    event_files.drop_steps(tmp_path, topic="epochs", first_step=4)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_directory_that_is_not_there_has_nothing_to_drop(tmp_path):
    event_files.drop_steps(tmp_path / "none", topic="epochs", first_step=0)
    assert list(tmp_path.iterdir()) == []
