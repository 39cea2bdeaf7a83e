import { z } from "zod";
import { attention } from "./attention.ts";
import { codeDiversity } from "./code-diversity.ts";
import { contrastive } from "./contrastive.ts";
import { crossEntropy } from "./cross-entropy.ts";
import { ctc } from "./ctc.ts";
import { featurePenalty } from "./feature-penalty.ts";
import { frameCrossEntropy } from "./frame-cross-entropy.ts";
import type { LossKind } from "./kind.ts";
import { maskedPrediction } from "./masked-prediction.ts";
import { l1, mse } from "./regression.ts";
import { worker } from "./worker.ts";

/** The keys of an objective: those of one of the losses. A new loss is a file here and an entry in each of the two lists. */
export const objective = z.discriminatedUnion("loss", [
  crossEntropy.schema,
  ctc.schema,
  attention.schema,
  frameCrossEntropy.schema,
  mse.schema,
  l1.schema,
  maskedPrediction.schema,
  contrastive.schema,
  codeDiversity.schema,
  featurePenalty.schema,
  worker.schema,
]);
export type Objective = z.output<typeof objective>;

const KINDS: { readonly [L in Objective["loss"]]: LossKind } = {
  "cross-entropy": crossEntropy,
  ctc,
  attention,
  "frame-cross-entropy": frameCrossEntropy,
  mse,
  l1,
  "masked-prediction": maskedPrediction,
  contrastive,
  "code-diversity": codeDiversity,
  "feature-penalty": featurePenalty,
  worker,
};

/** The loss that an objective names. */
export const lossOf = ({ loss }: Objective): LossKind => KINDS[loss];
