import type { Utterance } from "../../corpus/manifest.ts";
import { UserError } from "../../errors.ts";
import { slotScores } from "../../metrics/slots.ts";
import { listed, type Parts } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { type CtcHead, ctcLearner } from "../ctc-task.ts";
import { common, specAugment } from "../recipes.ts";
import type { Prepare, ProbeRecipe, ProbeTask } from "../task.ts";
import { blstm } from "./asr.ts";

/** Voices of each part: those of the test were never heard in training. */
const voices = {
  train: "Ivy,Joanna,Joey,Justin,Kendra,Kimberly,Matthew,Salli",
  valid: "Aditi,Amy,Geraint,Nicole",
  test: "Brian,Emma,Raveena,Russell",
};

/** SUPERB's slot filling: the text of a request with its slots tagged, spelt by CTC. */
export const sf: Prepare = async (root, trial) => {
  const folder = folderOf(root, "sf", "SNIPS", "audio-snips", "snips");
  const all = await partsOf(folder, "audio-snips");
  const of = (part: keyof Parts) => {
    const names = voices[part].split(",");
    return all[part].filter(({ speaker }) => names.includes(speaker ?? ""));
  };
  const parts = { train: of("train"), valid: of("valid"), test: of("test") };
  needParts("sf", folder, parts, "train", "valid", "test");
  return [slotTask(recipe, blstm(trial), parts)];
};

/** A tag is one symbol, a letter is one symbol; a space stands between words. */
const BLANK = "<pad>";
const UNKNOWN = "<unk>";

/** The task on any corpus whose utterances carry their tagged text. */
export function slotTask(given: ProbeRecipe, head: CtcHead, parts: Parts): ProbeTask {
  const { items, parts: indices } = listed(parts, given);
  const texts = items.map(({ utterance }) => taggedOf(utterance));
  const spelt = texts.map(symbolsOf);
  const found = new Set(indices.train.flatMap((i) => spelt[i]));
  const symbols = [BLANK, UNKNOWN, ...[...found].sort((a, b) => (a < b ? -1 : 1))];
  const index = new Map(symbols.map((symbol, i) => [symbol, i]));
  const targets = spelt.map((each) => each.map((symbol) => index.get(symbol) ?? 1));
  return {
    ...{ name: "sf", recipe: given, items, parts: indices },
    notes: ["letters and tags are those of the training part"],
    columns: { "slot-type F1": "SF_F1", "slot-value CER": "SF_CER" },
    headline: { metric: "slot-type F1", higher: true },
    learner: () =>
      ctcLearner({
        ...{ head, symbols: symbols.length, blank: 0, targets },
        read: (item, path) => ({
          id: items[item].utterance.id,
          reference: texts[item],
          hypothesis: textOf(path.map((symbol) => symbols[symbol])),
        }),
        metrics(predictions) {
          const all = [...predictions.values()];
          const scores = slotScores(
            all.map(({ reference }) => String(reference)),
            all.map(({ hypothesis }) => String(hypothesis)),
          );
          return {
            "slot-type F1": scores.typeF1,
            "slot-value CER": scores.valueCer.rate,
            "slot-value WER": scores.valueWer.rate,
          };
        },
      }),
  };
}

function taggedOf(utterance: Utterance): string {
  const tagged = utterance.labels?.tagged;
  if (typeof tagged !== "string")
    throw new UserError(`utterance "${utterance.id}" has no text with slots tagged (labels.tagged)`);
  return tagged;
}

/** "B-city NEW YORK E-city NOW" as symbols: the tag, the letters, the closing tag, a space, letters. */
export function symbolsOf(text: string): string[] {
  const symbols: string[] = [];
  let open = true;
  for (const word of text.split(" ")) {
    if (word.startsWith("E-")) {
      symbols.push(word);
      continue;
    }
    if (!open) symbols.push(" ");
    open = word.startsWith("B-");
    symbols.push(...(open ? [word] : word));
  }
  return symbols;
}

/** Symbols as text: a tag stands apart from the letters of its value. */
export const textOf = (symbols: readonly string[]): string =>
  symbols
    .map((symbol) =>
      symbol.startsWith("B-") ? `${symbol} ` : symbol.startsWith("E-") ? ` ${symbol}` : symbol,
    )
    .join("");

const recipe: ProbeRecipe = {
  ...common,
  specAugment,
  head: { type: "blstm", projection: 1024, layers: 2, hidden: 1024, dropout: 0.2, loss: "ctc" },
  ...{ steps: 200_000, batch: 32, sampling: "buckets", evaluateEvery: 2000 },
  best: { metric: "slot-type F1", higher: true },
  source: "read: s3prl downstream/ctc/snips.yaml, ctc/text.py, ctc/metric.py, asr/model.py (0.4.18)",
};
