"""The works that the course builds on, each readable in one sitting.

pix2pix.py      paired image translation: U-Net, PatchGAN (Isola et al. 2017)
cyclegan.py     unpaired image translation: ResNet generator, image pool, cycle loss (Zhu et al. 2017)
progressive.py  growing a generator from 4x4 pixels on (Karras et al. 2018)
srgan.py        super-resolution with a perceptual and an adversarial loss (Ledig et al. 2017)
monkeynet.py    image animation by keypoints without Jacobians (Siarohin et al. 2019)

metrics.py      measures of the experiments
config.py       settings of the five systems, small and published
data.py         data: the course's heads, folders of images, clips
systems.py      the five behind one interface: networks, optimizers, a step
training.py     `fit`, and `train_family`, what `fomm family train` does
weights.py      `load_family`
apply.py        trained systems on images and videos; samples
"""
