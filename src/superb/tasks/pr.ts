import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Lexicon, lookUp, readLexicon } from "../../corpus/lexicon.ts";
import type { Utterance } from "../../corpus/manifest.ts";
import { UserError } from "../../errors.ts";
import { type Parts, sequenceTask } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";

/** SUPERB's phoneme recognition: phones of LibriSpeech's words, ARPAbet with stress, linear CTC, no language model. */
export const pr: Prepare = async (root) => {
  const folder = folderOf(root, "pr", "LibriSpeech", "librispeech");
  const sets = "train-clean-100,dev-clean,test-clean";
  const lexicon = lexiconOf(root, folder);
  const notes: string[] = [];
  const parts = spelt(await partsOf(folder, "librispeech", { sets }), lexicon, notes);
  needParts("pr", folder, parts, "train", "valid", "test");
  return [
    sequenceTask(
      {
        ...{
          name: "pr",
          recipe,
          notes,
          columns: { per: "PR" },
          head: { projection: 256 },
          headline: "per",
        },
        vocabulary: { unit: "phones" },
        rates: { per: "phones" },
      },
      parts,
    ),
  ];
};

const recipe: ProbeRecipe = {
  ...common,
  optimizer: { ...common.optimizer, lr: 1e-2 },
  head: { type: "linear", projection: 256, loss: "ctc" },
  // 16 utterances, gradients of two batches added.
  ...{ steps: 100_000, batch: 32, sampling: "buckets", evaluateEvery: 1000 },
  best: { metric: "per", higher: false },
  source: "read: s3prl downstream/ctc/libriphone.yaml, ctc/expert.py, ctc/corpus/libriphone.py (0.4.18)",
};

const NAMES = [
  "librispeech-lexicon-200k-g2p.txt",
  "librispeech-lexicon-allothers-g2p.txt",
  "librispeech-lexicon.txt",
];

/** s3prl's two lexicons, or that of openslr.org/11; a word's first pronunciation in the first of them counts. */
function lexiconOf(root: string, folder: string): Lexicon {
  const found = NAMES.flatMap((name) => [join(root, name), join(folder, name)]).filter(existsSync);
  if (found.length === 0)
    throw new UserError(
      `${root}: the task pr needs a lexicon there, librispeech-lexicon.txt (openslr.org/11) or s3prl's ${NAMES[0]} and ${NAMES[1]}`,
    );
  const all: Lexicon = new Map();
  for (const path of found)
    for (const [word, phones] of readLexicon(path)) if (!all.has(word)) all.set(word, phones);
  return all;
}

function spelt(parts: Parts, lexicon: Lexicon, notes: string[]): Parts {
  const unknown: Record<string, number> = {};
  const withPhones = (part: keyof Parts) =>
    parts[part].flatMap((utterance): Utterance[] => {
      try {
        return [{ ...utterance, phones: lookUp(utterance.text ?? "", lexicon) }];
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        unknown[part] = (unknown[part] ?? 0) + 1;
        return [];
      }
    });
  const out = { train: withPhones("train"), valid: withPhones("valid"), test: withPhones("test") };
  for (const [part, count] of Object.entries(unknown))
    notes.push(`${count} utterances of the ${part} part have words that the lexicon lacks and are left out`);
  return out;
}
