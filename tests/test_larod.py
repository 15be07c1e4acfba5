"""Texts that real cameras printed, quoted in public threads and on Axis's pages."""

import shlex

from course_lib.camera import larod
from course_lib.errors import UnusableInput

import pytest

# Axis, Test your model (2023-12-05): the list of an ARTPEC-8 camera.
DEVICES = """\
2023-12-05T10:56:58.019 Connecting to larod...
2023-12-05T10:56:58.036 Connected
2023-12-05T10:56:58.036 Devices:
___________________________________________
 Name                             Instance
‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾
 cpu-tflite                       0
 axis-ace-proc                    0
 cpu-proc                         0
 axis-a8-dlpu-tflite              0
 axis-a8-dlpu-native              0
 axis-a8-dlpu-proc                0
 axis-a8-gpu-proc                 0
___________________________________________
"""
# The same page: a first load, and a later one with files.
FIRST = """\
2023-12-05T15:47:31.748 Connecting to larod...
2023-12-05T15:47:31.765 Connected
2023-12-05T15:47:57.308 Model mobilenet_v2_1.0_224_quant.tflite loaded
2023-12-05T15:47:57.308 Setting up randomly generated input tensors using random seed \
1701787677
2023-12-05T15:47:57.321 Running job for 100 round(s)...
2023-12-05T15:47:57.881 Output written to:
2023-12-05T15:47:57.882 1701787677.out0
2023-12-05T15:47:57.882 Mean execution time for job: 5.60 ms
"""
LATER = """\
2023-12-05T15:58:34.521 Connecting to larod...
2023-12-05T15:58:34.538 Connected
2023-12-05T15:58:35.492 Model mobilenet_v2_1.0_224_quant.tflite loaded
2023-12-05T15:58:35.492 Running job for 100 round(s)...
2023-12-05T15:58:36.049 Output written to:
2023-12-05T15:58:36.049 output.bin
2023-12-05T15:58:36.049 Mean execution time for job: 5.57 ms
"""
# acap-computer-vision-sdk-examples issue 160, as its reporter quoted it.
CRASH = """\
> 2023-10-03T14:47:12.703 Connecting to larod...
> 2023-10-03T14:47:12.719 Connected
> 2023-10-03T14:47:13.382 ERROR: When loading model synchronously (-6): Could not \
load model: Asynchronous connection has been closed
"""
CRASH_LOG = """\
2023-10-03T14:47:12.902+08:00 axis-b8a44f495376 [ INFO    ] sh[1841]: WARNING: \
Fallback unsupported op 32 to TfLite
2023-10-03T14:47:13.325+08:00 axis-b8a44f495376 [ INFO    ] sh[1841]: double free or \
corruption (out)
2023-10-03T14:47:13.327+08:00 axis-b8a44f495376 [ ERR     ] kernel: [  225.208127][ \
T1845] larod: singleprocq: potentially unexpected fatal signal 6.
2023-10-03T14:47:13.327+08:00 axis-b8a44f495376 [ WARNING ] kernel: [  225.208168][ \
T1845] CPU: 0 PID: 1845 Comm: singleprocq Kdump: l
"""
# The model zoo's test application logs the line of larod-client behind its own.
ZOO = """\
2023-02-07T10:57:31.089+01:00 axis-b8a44f306c98 [ INFO    ] larod_test[3228]: result: \
./models/artpec8/mobilenet_v2_1.0_224_quant.tflite 2023-02-07T10:57:31.086 Mean \
execution time for job: 9.44 ms
"""
# acap3-examples issues 57 and 118: an older larod, and a journal without host names.
OLD = """\
2025-05-22T11:46:03.326+02:00 axis-b8a44f087b50 [ ERR     ] \
tensorflow_to_larod[2054]: setupLarod: Could not select chip 4: Could not find chip 4
"""
JOURNAL = """\
- Sep 08 10:27:54  systemd[1]: Started object_detection.
- Sep 08 10:27:54 object_detection[2042]: Starting ...
"""


def test_the_devices_are_read_in_order_without_headings_and_times():
    assert larod.devices(DEVICES) == (
        "cpu-tflite",
        "axis-ace-proc",
        "cpu-proc",
        "axis-a8-dlpu-tflite",
        "axis-a8-dlpu-native",
        "axis-a8-dlpu-proc",
        "axis-a8-gpu-proc",
    )
    assert larod.devices(DEVICES.replace("\n", "\r\n")) == larod.devices(DEVICES)
    assert larod.devices(FIRST) == larod.devices("") == ()


def test_a_device_with_two_instances_has_one_name():
    text = "Devices:\n cpu-tflite 0\n a9-dlpu-tflite 0\n a9-dlpu-tflite 1\n"
    assert larod.devices(text) == ("cpu-tflite", "a9-dlpu-tflite")


def test_a_first_run_tells_all():
    assert larod.parse(FIRST) == larod.Run(
        model="mobilenet_v2_1.0_224_quant.tflite",
        load_seconds=25.543,
        seed=1701787677,
        rounds=100,
        mean_milliseconds=5.6,
        outputs=("1701787677.out0",),
    )


def test_a_later_run_loads_in_under_a_second_and_names_its_file():
    run = larod.parse(LATER)
    assert run.load_seconds == 0.954
    assert (run.seed, run.outputs, run.mean_milliseconds) == (
        None,
        ("output.bin",),
        5.57,
    )


def test_carriage_returns_change_nothing():
    assert larod.parse(FIRST.replace("\n", "\r\n")) == larod.parse(FIRST)


def test_missing_lines_leave_their_fields_empty():
    lines = LATER.splitlines()
    assert larod.parse("\n".join(lines[2:])).load_seconds is None
    assert larod.parse("\n".join(lines[:4])).mean_milliseconds is None
    assert larod.parse("") == larod.Run()
    assert larod.parse("sh: larod-client: not found") == larod.Run()


def test_several_outputs_end_where_the_next_message_begins():
    text = LATER.replace("output.bin", "my output.bin\n2023-12-05T15:58:36.050 b.bin")
    assert larod.parse(text).outputs == ("my output.bin", "b.bin")


def test_the_interactive_form_indents_its_files():
    text = (
        "total time = 0\nOutput written to:\n\tgoldfish_224x224_uint8_RGB.bin.out0\n"
        "total time = 0\n"
    )
    assert larod.parse(text).outputs == ("goldfish_224x224_uint8_RGB.bin.out0",)


def test_an_error_has_step_code_and_reason():
    run = larod.parse(CRASH)
    assert run.error == larod.Failure(
        step="loading model",
        code=-6,
        text="Could not load model: Asynchronous connection has been closed",
    )
    assert run.others == ()
    assert run.mean_milliseconds is None


def test_of_several_errors_the_first_is_the_error():
    second = "2023-10-03T14:47:14.000 ERROR: When running job (12): Out of memory"
    run = larod.parse(CRASH + second)
    assert run.error.code == -6
    assert run.others == (larod.Failure("running job", 12, "Out of memory"),)


def test_an_error_without_a_code_keeps_its_text():
    run = larod.parse("ERROR: Could not open model: No such file")
    assert run.error == larod.Failure("", None, "Could not open model: No such file")
    text = 'ERROR: Could not get device (-2): no "axis-a8-dlpu-tflite" (0)'
    assert larod.parse(text).error == larod.Failure(
        "Could not get device", -2, 'no "axis-a8-dlpu-tflite" (0)'
    )


def test_a_time_that_no_camera_measured_says_so():
    remark = "simulation: LiteRT on this computer's CPU"
    run = larod.parse(FIRST.replace("5.60 ms", f"5.60 ms ({remark})"))
    assert (run.mean_milliseconds, run.simulated) == (5.6, remark)
    assert larod.parse(FIRST).simulated == ""


def test_a_line_behind_a_log_s_own_is_read():
    assert larod.parse(ZOO).mean_milliseconds == 9.44
    (line,) = larod.log(ZOO)
    assert (line.process, line.pid, line.level) == ("larod_test", 3228, "INFO")


def test_the_system_log_is_read_with_time_host_level_and_process():
    lines = larod.log(CRASH_LOG)
    assert lines[0] == larod.LogLine(
        time="2023-10-03T14:47:12.902+08:00",
        host="axis-b8a44f495376",
        level="INFO",
        process="sh",
        text="WARNING: Fallback unsupported op 32 to TfLite",
        pid=1841,
    )
    assert [line.level for line in lines] == ["INFO", "INFO", "ERR", "WARNING"]
    assert lines[2].process == "kernel"
    assert lines[2].pid is None
    assert lines[2].text.endswith(
        "larod: singleprocq: potentially unexpected fatal signal 6."
    )
    (old,) = larod.log(OLD)
    assert old.text == "setupLarod: Could not select chip 4: Could not find chip 4"


def test_the_journal_is_read_with_and_without_a_host():
    started, starting = larod.log(JOURNAL)
    assert (started.process, started.pid, started.host) == ("systemd", 1, "")
    assert starting.text == "Starting ..."
    (line,) = larod.log(
        "-- Logs begin at Tue 2023-10-03 14:00:00 CST. --\n"
        "Oct  3 14:47:13 axis-b8a44f495376 larod[1841]: Session 55: Could not run job: "
        "Could only read 196608 out of 786432 bytes from file descriptor\r\n"
    )
    assert (line.time, line.host) == ("Oct  3 14:47:13", "axis-b8a44f495376")
    assert line.text.endswith("196608 out of 786432 bytes from file descriptor")


def test_a_line_of_no_known_form_is_kept():
    assert larod.log("\nwhat is this\n") == (
        larod.LogLine("", "", "", "", "what is this"),
    )


def test_the_command_of_the_page_is_made():
    words = larod.command(
        "m.tflite", device="axis-a8-dlpu-tflite", rounds=100, warm_up=5
    )
    assert (
        shlex.join(words)
        == "larod-client -g m.tflite -c axis-a8-dlpu-tflite -R 100 -w 5 -i ''"
    )


def test_files_and_seed_are_repeated_and_named():
    words = larod.command(
        "m", device="cpu-tflite", inputs=["a", "b"], outputs=["c", "d"], seed=7
    )
    assert words[7:] == [
        "--random-seed",
        "7",
        "-i",
        "a",
        "-i",
        "b",
        "-o",
        "c",
        "-o",
        "d",
    ]


def test_a_hostile_name_stays_one_argument():
    name = "; rm -rf '/\n$(reboot)`"
    words = larod.command(name, device="cpu-tflite")
    assert words[2] == name
    assert shlex.split(shlex.join(words)) == words


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": 0},
        {"warm_up": -1},
        {"seed": -1},
        {"inputs": ()},
        {"outputs": ["a\0b"]},
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(wrong):
    with pytest.raises(UnusableInput) as refusal:
        larod.command("m", device="cpu-tflite", **wrong)
    assert "\n" not in str(refusal.value)


def test_damaged_text_raises_nothing():
    """Any cut of the samples parses, with a field or without."""
    for text in (FIRST, CRASH, DEVICES, CRASH_LOG, ZOO, "9999-99-99T99:99:99.9 x"):
        for end in range(0, len(text), 7):
            larod.parse(text[end:] + text[:end])
            larod.devices(text[:end])
            larod.log(text[end:])


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: " + " " * 300_000 + "x",
        "ERROR: a" + " (" * 150_000,
        "2023-12-05T15:47:57.882 Mean execution time for job: " + "9" * 300_000 + " ms",
        "2023-12-05T15:47:57.308 using random seed " + "1" * 300_000,
        "Running job for " + "1" * 300_000 + " round(s)...",
        "Model " + "a " * 150_000,
        " cpu" + " " * 300_000 + "x",
        "2023-10-03T14:47:12.902+08:00 " + "axis " * 60_000,
        "Oct  3 14:47:13 " + "a" * 300_000,
        "Oct  3 14:47:13 a[" + "1" * 300_000 + "]: x",
    ],
)
def test_what_no_camera_prints_takes_no_time_and_raises_nothing(line):
    """A search that goes back and forth would take minutes here."""
    larod.parse(line)
    larod.devices(line)
    larod.log(line)
