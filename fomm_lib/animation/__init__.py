"""Animation: a portrait moves as a driving video or a camera does.

animate      `animate` makes a video file, `animate_frames` gives frames one by one
options      `AnimateOptions`: every option of an animation, declared and checked once
animator     `Animator`: one source that follows driving frames; `AnimatableModel`: what it can be given
detail       the detail of the source, which generating loses, moved along with the image
movement     changes of keypoints: relative motion, strength, smoothing, distance of poses
fast         `FastModel`: a trained model, rearranged to run faster
winograd     Winograd's fast convolution, for `fast` and for training
export       `export_model` and `ExportedModel`: ONNX files, run by onnxruntime or OpenVINO
eight_bits   what makes the exported generator compute with integers of 8 bits
augment      `augment`: animates every portrait of a folder by every video of another
live         `LiveAnimator`: a portrait that follows a camera
live_server  the page of `fomm live` (`live.html`) and the server behind it
"""
