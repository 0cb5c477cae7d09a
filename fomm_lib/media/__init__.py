"""Images, video and audio, in and out; nothing here knows the networks of the paper.

video       `VideoReader`, `read_frames`, `read_image`: every file becomes uint8 RGB arrays; writing
            is in `encoding`
images      images and animated images with Pillow
decoding    videos with PyAV: open, check, decode, convert to RGB
tracks      the best video and audio track; a clock that does not jump
index       the positions of a video's frames, and random access by them
encoding    `VideoWriter`: writes videos and animated images
audio       copies the audio of one file into the video that is written
folders     folders of frames and their times
outputs     `open_output`: a video or a folder of frames, by its name
formats     tables of formats and of the endings of file names
signatures  what the first bytes of an image say: camera raw, HEIC, AVIF
containers  what a file says about itself: encryption, a missing end
credentials signed statements about what a file is (C2PA)
describe    what `fomm info` says of images and videos
headers     texts in GIF and PNG files
tensors     uint8 arrays to tensors and back, sizes
squares     which square to cut out of an image
faces       boxes, landmarks and identity of faces
overlays    watermark, results pasted back, keypoints
pipeline    reading ahead, writing in the background, progress bars
sandbox     a call in another process, which can be stopped
"""
