import { sequenceTask } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import type { CtcHead } from "../ctc-task.ts";
import { common, specAugment } from "../recipes.ts";
import type { Prepare, ProbeRecipe, Trial } from "../task.ts";

/** Two BLSTM layers of 1024 behind a projection to as many; slot filling has the same. */
export const blstm = ({ hidden }: Trial = { hidden: 1024 }, squash = false): CtcHead => ({
  projection: hidden,
  lstm: { layers: 2, hidden, dropout: 0.2, squash },
});

/** SUPERB's speech recognition: letters by CTC, best path, no language model. */
export const asr: Prepare = async (root, trial) => {
  const folder = folderOf(root, "asr", "LibriSpeech", "librispeech");
  const parts = await partsOf(folder, "librispeech", { sets: "train-clean-100,dev-clean,test-clean" });
  needParts("asr", folder, parts, "train", "valid", "test");
  return [
    sequenceTask(
      {
        ...{ name: "asr", recipe, notes: [], columns: { wer: "ASR" }, head: blstm(trial), headline: "wer" },
        vocabulary: { unit: "characters", letterCase: "upper" },
        rates: { wer: "words", cer: "characters" },
      },
      parts,
    ),
  ];
};

const recipe: ProbeRecipe = {
  ...common,
  specAugment,
  head: { type: "blstm", projection: 1024, layers: 2, hidden: 1024, dropout: 0.2, loss: "ctc" },
  ...{ steps: 200_000, batch: 32, sampling: "buckets", evaluateEvery: 2000 },
  best: { metric: "wer", higher: false },
  source: "read: s3prl downstream/asr/config.yaml, asr/model.py, asr/expert.py, specaug.py (0.4.18)",
};

/**
 * Mandarin, for Speech-FT's cross-lingual table: characters of Common Voice zh-CN. Each layer is followed by a projection
 * through tanh, which s3prl's recipe has for this corpus and not for LibriSpeech.
 */
export const asrZh: Prepare = async (root, trial) => {
  const folder = folderOf(root, "asr-zh", "zh-CN", "common-voice/zh-CN", "CommonVoice/zh-CN");
  const parts = needParts("asr-zh", folder, await partsOf(folder, "common-voice"), "train", "valid", "test");
  return [
    sequenceTask(
      {
        ...{ name: "asr-zh", recipe: mandarin, notes: [], columns: {}, headline: "cer" },
        head: blstm(trial, true),
        vocabulary: { unit: "characters" },
        rates: { cer: "characters" },
      },
      parts,
    ),
  ];
};

const mandarin: ProbeRecipe = {
  ...recipe,
  head: { ...recipe.head, squash: true },
  ...{ steps: 500_000, batch: 16, evaluateEvery: 5000 },
  best: { metric: "cer", higher: false },
  source:
    "read: s3prl downstream/ctc/cv_config/cv_zh.yaml (0.4.18); punctuation is kept as the corpus has it",
};
