import type { ProbeRecipe } from "./task.ts";

/** What most recipes of SUPERB share (s3prl): Adam at a constant rate, gradients clipped to 1. */
export const common = {
  optimizer: { name: "adam", lr: 1e-4, weightDecay: 0 },
  schedule: { name: "constant" },
  clip: 1,
} satisfies Partial<ProbeRecipe>;

/** s3prl's SpecAugment of ASR and slot filling. */
export const specAugment = {
  timeWarp: 5,
  timeMasks: 2,
  timeWidth: 40,
  channelMasks: 4,
  channelWidth: 50,
} satisfies ProbeRecipe["specAugment"];
