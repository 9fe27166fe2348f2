"""Examples and a student to a trained student."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    sft="sft.SFT",
    white_box="white_box.WhiteBox",
    pairwise="pairwise.Pairwise",
    grpo="grpo.GRPO",
    reward_model="reward.RewardTrainer",
    reward_pairs="reward.PairRewardTrainer",
    forward_kl="losses.divergence.ForwardKL",
    reverse_kl="losses.divergence.ReverseKL",
    jsd="losses.divergence.JSD",
    skewed_kl="losses.divergence.SkewedKL",
    reverse_skewed_kl="losses.divergence.ReverseSkewedKL",
    adaptive_kl="losses.divergence.AdaptiveKL",
    tvd="losses.divergence.TVD",
    dpo="losses.preference.DPO",
    orpo="losses.preference.ORPO",
    simpo="losses.preference.SimPO",
    redi="losses.preference.REDI",
    kto="losses.preference.KTO",
    with_sft="losses.joint.WithSFT",
    mse="losses.regression.MSE",
    huber="losses.regression.Huber",
    soft_bce="losses.regression.SoftBCE",
    accurate="rewards.Accurate",
    formatted="rewards.Formatted",
    within="rewards.Within",
    scored="rewards.Scored",
    overlong="rewards.Overlong",
)
