"""Examples and a student to a trained student."""

from stillwise.parts import Part
from stillwise.train.losses.divergence import JSD, TVD, AdaptiveKL, ForwardKL, ReverseKL, ReverseSkewedKL, SkewedKL
from stillwise.train.losses.preference import DPO, KTO, ORPO, REDI, SimPO
from stillwise.train.losses.regression import MSE, Huber, SoftBCE
from stillwise.train.pairwise import Pairwise
from stillwise.train.sft import SFT
from stillwise.train.white_box import WhiteBox

PARTS: tuple[type[Part], ...] = (
    SFT,
    WhiteBox,
    Pairwise,
    ForwardKL,
    ReverseKL,
    JSD,
    SkewedKL,
    ReverseSkewedKL,
    AdaptiveKL,
    TVD,
    DPO,
    ORPO,
    SimPO,
    REDI,
    KTO,
    MSE,
    Huber,
    SoftBCE,
)
