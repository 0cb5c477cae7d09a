"""Evaluation: how good a model is, in numbers (notebook 09).

evaluate     `evaluate`: measures models, and the repeated source frame as a baseline, on fixed frames
             of clips
images       metrics of images: L1, PSNR, SSIM, LPIPS, Fréchet distance; and `Metric`, a column of a table
faces        metrics of landmarks and identities: AKD, MKR, AED, jitter, movement error
movements    what a face does, from landmarks: lips, mouth width, lids, brows, yaw, pitch, roll
regions      metrics of a part of the image: sharpness of the face, error of uncovered background
inpainting   the masked-square test: how far a generator sees when it paints what is hidden
true_motion  metrics of flow, occlusion and keypoints against the ground truth of synthetic heads
comparison   bootstrap intervals, paired tests and Markdown tables
protocol     which frames of which clips are evaluated, as a JSON file
report       `Report`, the numbers of an evaluation: CSV, table, best and worst frames; and `METRICS`
page         a page of images of the best, median and worst frames
strips       a page of people who are moved by others, with the best, the median and the worst
study        a study with human raters, who compare two animations side by side
ballot_page  the same study as one HTML file (`ballot.html`), for a class
power        how many raters and videos a study needs, by simulation
trouble      `trouble`: what will probably go wrong with a portrait and a driving video
"""
