import { existsSync } from "node:fs";
import { join } from "node:path";
import { readRttm } from "../formats/nist.ts";
import type { Turn, Utterance } from "../manifest.ts";
import { choiceOption, filesBelow, firstOf, foldersIn, need, type Reader, stem } from "./reader.ts";

const layout = "Libri2Mix/wav16k/min/{train-100,dev,test}/{mix_clean,mix_both,s1,s2}/*.wav";

/** Libri2Mix: mixtures of two LibriSpeech speakers. */
export const libri2mix: Reader = {
  title: "Libri2Mix: two speakers at once, for diarisation",
  layout,
  options: {
    rate: "wav16k (default) or wav8k",
    mode: "max (default, as SUPERB) or min",
    mixture: "mix_both (default, with noise) or mix_clean",
    rttm: "folder with train.rttm, dev.rttm and test.rttm of who speaks when",
  },
  read(folder, options) {
    const rate = choiceOption(options, "rate", ["wav16k", "wav8k"]);
    const mode = choiceOption(options, "mode", ["max", "min"]);
    const mixture = choiceOption(options, "mixture", ["mix_both", "mix_clean"]);
    const root = need(firstOf(folder, "Libri2Mix") ?? folder, `${rate}/${mode}`, layout);
    return foldersIn(root).flatMap((part) => {
      const split = part.startsWith("train") ? "train" : part.startsWith("dev") ? "valid" : "test";
      const turns = turnsOf(options.rttm, split);
      return filesBelow(join(root, part, mixture), ".wav").map((file): Utterance => {
        const id = stem(file);
        // "4077-13754-0001_5142-33396-0065": the utterances that were mixed, whose first numbers are the speakers.
        const [first, second] = id.split("_").map((utterance) => utterance.split("-")[0]);
        return {
          id,
          audio: join(root, part, mixture, file),
          ...(turns?.has(id) && { turns: turns.get(id) }),
          labels: { speaker1: first, speaker2: second, part },
          split,
        };
      });
    });
  },
};

function turnsOf(folder: string | undefined, split: string): Map<string, Turn[]> | undefined {
  if (folder === undefined) return undefined;
  const names = split === "valid" ? ["dev", "valid"] : [split];
  const path = names
    .flatMap((n) => [`${n}.rttm`, `${n}/rttm`])
    .map((n) => join(folder, n))
    .find((p) => existsSync(p));
  return readRttm(path ?? need(folder, `${names[0]}.rttm`, "train.rttm, dev.rttm and test.rttm"));
}
