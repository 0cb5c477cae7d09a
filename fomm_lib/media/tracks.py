"""Which tracks of a file are used, and their packets on a clock that does not jump."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

from fomm_lib.media.formats import NOT_VIDEO_DISPOSITIONS

_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT of FFmpeg: formats that may be cut and joined like tape
# FFmpeg's flags of tracks: AV_DISPOSITION_DEFAULT; and _COMMENT, _KARAOKE, _HEARING_IMPAIRED,
# _VISUAL_IMPAIRED and _CLEAN_EFFECTS, of tracks that few want.
_DEFAULT, _SPECIAL = 0x0001, 0x0008 | 0x0020 | 0x0080 | 0x0100 | 0x0200
_FORWARD, _BACK = 10.0, 0.1  # seconds of a jump; FFmpeg's own command line takes the same


def may_jump(container: av.container.InputContainer) -> bool:
    """Whether the clock of a file may jump, as in a transport stream. Its header then knows no length."""
    return bool(container.format.flags & _MAY_JUMP)


def counts_packets(container: av.container.InputContainer) -> bool:
    """Whether a format only counts packets, so that its time stamps follow the order of decoding."""
    return container.format.name == "avi"


def videos(container: av.container.InputContainer) -> list[av.video.stream.VideoStream]:
    """The video tracks without cover art, thumbnails and stills, the best first.

    The best has a known codec; of several, it has at least a tenth of the pixels of the largest (else it is a
    preview, which some programs mark as default because it comes first); of several, it is marked as default;
    of several, it has the most pixels.
    """
    tracks = [one for one in container.streams.video if not one.disposition.value & NOT_VIDEO_DISPOSITIONS]
    largest = max(map(_pixels, tracks), default=0)

    def rank(track: av.video.stream.VideoStream) -> tuple:
        pixels = _pixels(track)
        is_default = bool(track.disposition.value & _DEFAULT)
        return track.codec_context is not None, 10 * pixels >= largest, is_default, pixels

    return sorted(tracks, key=rank, reverse=True)


def _pixels(track: av.video.stream.VideoStream) -> int:
    context = track.codec_context
    return 0 if context is None else context.width * context.height


def audios(container: av.container.InputContainer) -> list[av.audio.stream.AudioStream]:
    """The audio tracks that can be decoded, the best first.

    The best is marked as default; of several, it is not a commentary or one for the hearing or visually
    impaired; of several, it belongs to the video (a broadcast holds several programs).
    """
    best = container.streams.best("audio", related=next(iter(videos(container)), None))
    tracks = [one for one in container.streams.audio if one.codec_context is not None and one.rate]

    def rank(track: av.audio.stream.AudioStream) -> tuple:
        flags = track.disposition.value
        return bool(flags & _DEFAULT), not flags & _SPECIAL, track == best

    return sorted(tracks, key=rank, reverse=True)


def steady_packets(
    container: av.container.InputContainer, wanted: av.stream.Stream
) -> Iterator[av.packet.Packet]:
    """The packets of a track, the last one empty, with time stamps without the jumps of the file's clock.

    A jump is a time stamp more than 10 s after the one that was expected, or more than 0.1 s before the last.
    All tracks of a file share its clock: after a jump of the first to meet it, the packets of the best video
    and the best audio are shifted together, so every reader of a file sees the same times.

    Source: FFmpeg's command line does the same (`-dts_delta_threshold`).

    Example:
        >>> with open_container(data_path("driving.mp4")) as container:
        ...     [packet.pts for packet in steady_packets(container, videos(container)[0])][:3]
        [0, 2048, 1024]
    """
    if not may_jump(container):
        yield from container.demux(wanted)
        return
    followed = {track.index: track for track in [wanted, *videos(container)[:1], *audios(container)[:1]]}
    shift = Fraction(0)
    latest, following = {}, {}  # of each track, the last time and the one expected next
    delays: dict[int, int] = {}  # of each track, ticks from decoding to display
    for packet in container.demux(*followed.values()):
        track, tick = packet.stream.index, Fraction(packet.time_base)
        if packet.dts is not None:
            now = float(packet.dts * tick + shift)
            expected = following.get(track, max(following.values(), default=now))
            back = _BACK if track in latest else _FORWARD
            if now - expected > _FORWARD or now + back < latest.get(track, expected):
                shift += Fraction(expected - now).limit_denominator(1_000_000)
                now = expected
            latest[track] = now
            following[track] = now + float((packet.duration or 0) * tick)
            if packet.pts is not None and abs(packet.pts - packet.dts) * tick > _FORWARD:
                packet.pts = packet.dts + delays.get(track, 0)  # the clock jumped between the two
            elif packet.pts is not None:
                delays[track] = packet.pts - packet.dts
        if track == wanted.index:
            if shift:
                ticks = round(shift / tick)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet
