"""VoxCeleb, the whole way: small videos are served over HTTP on this machine, and yt-dlp fetches them."""

import csv
import subprocess
import sys
import threading
import time
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fomm_lib.data import voxceleb
from fomm_lib.data.clips import VideoClip, find_clips
from fomm_lib.data.datasets import FramePairs
from fomm_lib.data.voxceleb import DONE, FAILED, TO_DO, Ledger, fetch_voxceleb, read_metadata
from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter

pytest.importorskip("yt_dlp", reason="yt-dlp is an extra: pip install 'fomm-lib[voxceleb]'")

COLUMNS = ["video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id"]


def row(
    video="talk",
    start=10,
    end=40,
    bbox="40-20-140-120",
    partition="train",
    person="id1",
    fps=25,
    width=320,
    height=240,
):
    return dict(zip(COLUMNS, (video, start, end, bbox, fps, width, height, partition, person), strict=True))


def write_list(path: Path, *rows, columns=COLUMNS) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_video(path: Path, frames=60, frozen=False):
    """320x240, 25 a second. Inside the box (40, 20)-(140, 120) a frame is as grey as 4 times its number."""
    with VideoWriter(path, 25, (320, 240), keyframe_every=25) as writer:
        for number in range(frames):
            frame = np.full((240, 320, 3), 255, np.uint8)
            frame[20:120, 40:140] = 40 if frozen else 4 * number
            writer.write(frame)


def numbers_in(frames) -> list[int]:
    frames = list(frames)
    assert all(frame.std() < 3 for frame in frames), "something from outside the box"
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "talk.mp4")
    write_video(folder / "walk.mp4")
    write_video(folder / "still.mp4", frozen=True)
    (folder / "broken.mp4").write_bytes((folder / "talk.mp4").read_bytes()[:300] + b"\0" * 3000)
    return folder


class Site:
    """A site of videos: `asked` are the names that were asked for, `trouble` is what to answer instead."""

    def __init__(self, folder: Path):
        site = self
        self.asked: list[str] = []
        self.trouble: dict[str, int] = {}
        self.gate = threading.Event()
        self.gate.set()

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=folder)

            def do_GET(self):
                name = Path(self.path).stem
                site.asked.append(name)
                if name == "walk":
                    site.gate.wait(300)
                if name in site.trouble:
                    self.send_error(site.trouble[name])
                else:
                    super().do_GET()

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{{video_id}}.mp4"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site(videos):
    site = Site(videos)
    yield site
    site.gate.set()
    site.server.shutdown()
    site.server.server_close()


def test_the_whole_way(site, tmp_path):
    rows = [
        row(),
        row(start=0, end=60, partition="test", person="id2"),
        row(video="gone"),
        row(video="walk", start=50, end=200),
        row(video="walk", start=100, end=200),
        row(video="still"),
        row(video="broken"),
    ]
    ledger = fetch_voxceleb(write_list(tmp_path / "list.csv", *rows), tmp_path / "vox", size=64, url=site.url)

    names = ["id1#talk#000010#000040.mp4", "id1#walk#000050#000200.mp4"]
    assert [clip.name for clip in find_clips(tmp_path / "vox", "train")] == names
    assert [clip.name for clip in find_clips(tmp_path / "vox", "test")] == ["id2#talk#000000#000060.mp4"]
    first = VideoClip(tmp_path / "vox" / "train" / names[0])
    assert numbers_in(first) == list(range(10, 40))
    assert first.read([0])[0].shape == (64, 64, 3)
    assert numbers_in(VideoClip(tmp_path / "vox" / "train" / names[1])) == list(range(50, 60))
    assert len(FramePairs(tmp_path / "vox", size=64, id_sampling=True)) == 1

    told = {
        (row.video_id, row.clip.split("#")[2]): row
        for row in Ledger(tmp_path / "vox" / "ledger.csv").rows.values()
    }
    assert {key: row.state for key, row in told.items()} == {
        ("talk", "000010"): DONE,
        ("talk", "000000"): DONE,
        ("gone", "000010"): FAILED,
        ("walk", "000050"): DONE,
        ("walk", "000100"): FAILED,
        ("still", "000010"): FAILED,
        ("broken", "000010"): FAILED,
    }
    assert told["talk", "000010"].frames == 30 and told["talk", "000010"].reason == ""
    assert "404" in told["gone", "000010"].reason
    assert told["walk", "000050"].reason == "short: the video ends after 10 of 150 frames"
    assert told["walk", "000100"].reason == "the video ends before this clip begins"
    assert told["still", "000010"].reason.startswith("frozen: ")
    assert "broken.mp4" in told["broken", "000010"].reason
    assert ledger.summary() == "7 clips: 3 done, 4 failed, 0 to do"
    assert not list((tmp_path / "vox" / "videos").iterdir())
    assert not list((tmp_path / "vox").rglob("*.partial*"))
    # Started again it has nothing to do, and asks for nothing.
    site.asked.clear()
    fetch_voxceleb(tmp_path / "list.csv", tmp_path / "vox", size=64, url=site.url)
    assert not site.asked


def test_killed_and_started_again(site, tmp_path):
    write_list(tmp_path / "list.csv", row(), row(video="walk"), row(video="still"))
    site.gate.clear()  # the second video keeps the run waiting
    code = (
        f"from fomm_lib.data.voxceleb import *; fetch_voxceleb('list.csv', 'vox', size=64, url='{site.url}')"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while "walk" not in site.asked and time.monotonic() < deadline:
        assert run.poll() is None
        time.sleep(0.05)
    run.kill()
    run.wait()
    states = [row.state for row in Ledger(tmp_path / "vox" / "ledger.csv").rows.values()]
    assert states == [DONE, TO_DO, TO_DO]

    site.gate.set()
    site.asked.clear()
    ledger = fetch_voxceleb(tmp_path / "list.csv", tmp_path / "vox", size=64, url=site.url)
    assert ledger.summary() == "3 clips: 2 done, 1 failed, 0 to do"
    assert "talk" not in site.asked


def test_a_clip_that_was_finished_but_not_noted_is_done(site, tmp_path):
    listed = write_list(tmp_path / "list.csv", row())
    fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url)
    (tmp_path / "vox" / "ledger.csv").unlink()
    site.asked.clear()
    assert (
        fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url).summary()
        == "1 clips: 1 done, 0 failed, 0 to do"
    )
    assert not site.asked
    (
        tmp_path / "vox" / "train" / "id1#talk#000010#000040.mp4"
    ).unlink()  # and one that was removed is made again
    fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url)
    assert (tmp_path / "vox" / "train" / "id1#talk#000010#000040.mp4").is_file()


def test_failed_is_tried_again_only_when_asked(site, tmp_path):
    listed = write_list(tmp_path / "list.csv", row())
    site.trouble = {"talk": 410}
    states = []
    for trouble, retry in (({"talk": 410}, False), ({}, False), ({}, True)):
        site.trouble = trouble
        ledger = fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url, retry=retry)
        states += [row.state for row in ledger.rows.values()]
    assert states == [FAILED, FAILED, DONE]


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_stays_to_do(site, tmp_path, status):
    listed = write_list(tmp_path / "list.csv", row())
    site.trouble = {"talk": status}
    quick = {"extractor_retries": 0, "retries": 0}
    (told,) = fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url, ytdlp=quick).rows.values()
    assert told.state == TO_DO and str(status) in told.reason
    site.trouble = {}
    (told,) = fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url).rows.values()
    assert (told.state, told.reason) == (DONE, "")


def test_without_a_network_it_stops_and_nothing_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(voxceleb, "PATIENCE", 2)
    listed = write_list(tmp_path / "list.csv", *(row(video=f"v{number}") for number in range(4)))
    quick = {"extractor_retries": 0, "retries": 0}
    with pytest.raises(
        InputError, match=r"2 videos in a row were out of reach.*start again: it continues from here"
    ):
        fetch_voxceleb(listed, tmp_path / "vox", url="http://127.0.0.1:9/{video_id}.mp4", ytdlp=quick)
    assert Ledger(tmp_path / "vox" / "ledger.csv").summary() == "4 clips: 0 done, 0 failed, 4 to do"


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_frames_instead_of_videos(site, tmp_path, form):
    listed = write_list(tmp_path / "list.csv", row(), row(start=20, end=21), row(video="still"))
    ledger = fetch_voxceleb(listed, tmp_path / "vox", size=32, form=form, url=site.url)
    (clip,) = find_clips(tmp_path / "vox", "train")
    assert clip.name == "id1#talk#000010#000040.mp4" and clip.identity == "id1"
    assert clip.files[:2] == [f"0000000.{form}", f"0000001.{form}"]
    assert numbers_in(clip) == list(range(10, 40))
    reasons = [row.reason.split(":")[0] for row in ledger.rows.values()]
    assert reasons == ["", "single_frame", "frozen"]


def test_several_at_a_time_and_a_limit(site, tmp_path):
    rows = [
        row(start=start, end=start + 10, video=video)
        for video in ("talk", "walk", "gone")
        for start in (0, 20)
    ]
    listed = write_list(tmp_path / "list.csv", *rows)
    ledger = fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url, limit=1)
    assert ledger.summary() == "6 clips: 2 done, 0 failed, 4 to do"
    ledger = fetch_voxceleb(listed, tmp_path / "vox", size=64, url=site.url, jobs=2, keep_videos=True)
    assert ledger.summary() == "6 clips: 4 done, 2 failed, 0 to do"
    assert [path.name for path in (tmp_path / "vox" / "videos").iterdir()] == ["walk.mp4"]


def test_the_box_follows_the_resolution(videos, tmp_path):
    """The list was made at twice the size and another frame rate than the video that is there today."""
    (clip,) = read_metadata(
        write_list(
            tmp_path / "list.csv", row(start=12, end=48, bbox="80-40-280-240", fps=30, width=640, height=480)
        )
    )
    assert clip.start == Fraction(2, 5) and clip.end == Fraction(8, 5)
    frames = [frame for _, frame in voxceleb.cut(videos / "talk.mp4", clip, 50)]
    assert numbers_in(frames) == list(range(10, 40))


def test_a_box_outside_the_image(videos, tmp_path):
    (clip,) = read_metadata(write_list(tmp_path / "list.csv", row(bbox="400-20-500-120")))
    assert voxceleb.make_clip(videos / "talk.mp4", clip, tmp_path / "clip.mp4", 64, "mp4") == (
        0,
        "the box lies outside the image of 320x240",
    )
    assert not (tmp_path / "clip.mp4").exists()


def test_the_list_is_read(tmp_path):
    rows = [row(), row(partition="test", person="id9", start=1093, end=1192), row()]
    path = write_list(tmp_path / "list.csv", *rows)
    assert [clip.name for clip in read_metadata(path)] == [
        "id1#talk#000010#000040.mp4",
        "id9#talk#001093#001192.mp4",
    ]
    assert [clip.name for clip in read_metadata(path, "test")] == ["id9#talk#001093#001192.mp4"]
    joined = write_list(tmp_path / "joined.csv", row(video="talk#id7"), columns=COLUMNS[:-1])
    assert read_metadata(joined)[0].name == "id7#talk#000010#000040.mp4"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": "../../etc/passwd"}, r"list.csv, line 2: '../../etc/passwd' is no name of a video"),
        ({"person": ""}, "line 2: '' is no name"),
        ({"start": 40, "end": 40}, "line 2: the end is not after the start"),
        ({"bbox": "1-2-3"}, "line 2: .*; correct or remove the line"),
        ({"bbox": "100-20-40-120"}, "the box is empty"),
        ({"fps": 0}, "fps '0' is not between 1 and 1000"),
        ({"fps": "0.000000001"}, r"fps '0\.000000001' is not between 1 and 1000"),
        ({"fps": "1/999999999"}, "fps '1/999999999' is not between"),
        ({"fps": "999999999.999999999"}, "is not between 1 and 1000"),
        ({"width": 0}, "width '0' is not between 2 and 65536"),
        ({"height": 999999999}, "height '999999999' is not between"),
        ({"end": 999999999}, "end '999999999' is not between 0 and 100000000"),
        ({"fps": "1e999999999"}, r"fps '1e999999999' is not a number such as 25, 29\.97 or 30000/1001"),
        ({"fps": "1e-99999999"}, "fps '1e-99999999' is not a number"),
        ({"fps": "25/0"}, "fps '25/0' is not a number"),
        ({"fps": "25/000"}, "fps '25/000' is not a number"),
        ({"fps": "9" * 10**5}, "is not a number"),
        ({"width": "nan"}, "width 'nan' is not a number"),
        ({"height": "-120"}, "height '-120' is not a number"),
        ({"start": "1e9"}, "start '1e9' is not a number"),
        ({"start": "1.5"}, r"start '1\.5' is not the number of a frame"),
        ({"end": "9" * 5000}, "is not a number"),
        ({"bbox": f"0-0-{'9' * 5000}-5"}, "is not x0-y0-x1-y1"),
        ({"bbox": "1e5-0-1e9-5"}, "'1e5-0-1e9-5' is not x0-y0-x1-y1"),
        ({"video": "v" * 300}, "is no name of a video or a person"),
        ({"partition": "dev"}, "partition 'dev' is neither train nor test"),
    ],
)
def test_rows_that_make_no_sense(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_metadata(write_list(tmp_path / "list.csv", row(**changes)))


def test_lists_that_make_no_sense(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read as a CSV file"):
        read_metadata(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="no column bbox, fps; give the published"):
        read_metadata(
            write_list(tmp_path / "a.csv", row(), columns=[c for c in COLUMNS if c not in ("bbox", "fps")])
        )
    with pytest.raises(InputError, match="no clips in it of the partition test"):
        read_metadata(write_list(tmp_path / "b.csv", row()), "test")
    with pytest.raises(InputError, match="partition 'both': choose"):
        read_metadata(write_list(tmp_path / "c.csv", row()), "both")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a CSV"):
        read_metadata(tmp_path / "d.csv")
    twice = write_list(tmp_path / "e.csv", row())
    head, line = twice.read_text().splitlines()
    twice.write_text(f"{head},start\n{line},5\n")  # which of the two is meant?
    with pytest.raises(InputError, match="it has the column start twice"):
        read_metadata(twice)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 33}, "size=33; must be an even number"),
        ({"size": 1_000_000}, "size=1000000; must be an even number of pixels from 2 to 4096"),
        ({"limit": -1}, "limit=-1: give a whole number, at least 0"),
        ({"form": "gif"}, "format 'gif': choose mp4, png, jpg"),
        ({"url": "http://example.org"}, "must contain {video_id}"),
        ({"jobs": 0}, "jobs=0: give a whole number"),
    ],
)
def test_bad_arguments(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        fetch_voxceleb(write_list(tmp_path / "list.csv", row()), tmp_path / "vox", **settings)


def test_without_yt_dlp(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(InputError, match=r"needs yt-dlp; install it: pip install 'fomm-lib\[voxceleb\]'"):
        fetch_voxceleb(write_list(tmp_path / "list.csv", row()), tmp_path / "vox")
    assert not (tmp_path / "vox").exists()


def test_something_else_called_ledger(tmp_path):
    (tmp_path / "vox").mkdir()
    (tmp_path / "vox" / "ledger.csv").write_text("date,amount\nMay,3\n")
    with pytest.raises(InputError, match="is not a ledger of VoxCeleb"):
        fetch_voxceleb(write_list(tmp_path / "list.csv", row()), tmp_path / "vox")
    assert (tmp_path / "vox" / "ledger.csv").read_text() == "date,amount\nMay,3\n"


def test_what_yt_dlp_says_about_a_lost_video_is_one_line():
    from yt_dlp.utils import DownloadError

    gone = DownloadError(
        "\x1b[0;31mERROR:\x1b[0m [youtube] x: Video unavailable. It is\nprivate; please report this issue"
    )
    assert voxceleb._reason(gone) == "[youtube] x: Video unavailable. It is private"
    assert not voxceleb._may_pass(gone)
    assert voxceleb._may_pass(DownloadError("Sign in to confirm you're not a bot"))
