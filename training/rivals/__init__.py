"""The paper's rivals, trained on our data on the same footing: 3-D U-Net, SwinUNETR, conditional GAN."""
