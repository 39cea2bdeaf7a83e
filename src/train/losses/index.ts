import { z } from "zod";
import { crossEntropy } from "./cross-entropy.ts";
import { ctc } from "./ctc.ts";
import type { LossKind } from "./kind.ts";
import { l1, mse } from "./regression.ts";

/** The keys of an objective: those of one of the losses. A new loss is a file here and an entry in each of the two lists. */
export const objective = z.discriminatedUnion("loss", [
  crossEntropy.schema,
  ctc.schema,
  mse.schema,
  l1.schema,
]);
export type Objective = z.output<typeof objective>;

const KINDS: { readonly [L in Objective["loss"]]: LossKind } = {
  "cross-entropy": crossEntropy,
  ctc,
  mse,
  l1,
};

/** The loss that an objective names. */
export const lossOf = ({ loss }: Objective): LossKind => KINDS[loss];
