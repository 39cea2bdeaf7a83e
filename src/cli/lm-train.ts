import { existsSync, statSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { buildVocabulary, type Vocabulary } from "../corpus/vocab.ts";
import { quote, UserError } from "../errors.ts";
import { readSentences, Sentences } from "../train/lm-text.ts";
import { piecesFor } from "../train/losses/sequence.ts";
import { readTargets } from "../train/open-model.ts";
import { recurrentLmSettings } from "../train/recurrent-lm.ts";
import { trainRecurrentLm } from "../train/train-recurrent-lm.ts";
import { collect, interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  units: string;
  head?: string;
  letterCase: "keep" | "lower" | "upper";
  out: string;
  valid: string[];
  epochs: number;
  batch: number;
  lr: number;
  embedding: number;
  layers: number;
  neurons: number;
  dense: number;
  dropout: number;
  seed: number;
  threads?: number;
  skipBad?: boolean;
  overwrite?: boolean;
}

/** Every so many sentences one validates, where no file for it is given. */
const HELD = 50;

/** `voxsmith lm train`. */
export function trainCommand(): Command {
  return newCommand(
    "train",
    "Trains a recurrent language model on text, over the symbols that a speech model writes: for `eval --lm` with heads of `loss: attention`.",
    [
      "lm train librispeech-lm-norm.txt.gz --units runs/crdnn --out runs/crdnn-lm",
      "lm train manifest.jsonl --units bpe1000.model --neurons 256 --dense 128 --out runs/small-lm",
    ],
  )
    .argument(
      "<text...>",
      "text, a sentence a line, plain or gzipped; or manifests (.jsonl), whose texts are taken",
    )
    .requiredOption("--units <path>", "whose symbols: the folder of a run, or a SentencePiece model's file")
    .option("--head <name>", "the run's objective, where it has several of symbols")
    .option(
      "--letter-case <case>",
      "keep, lower or upper, with a SentencePiece model; a run says it itself",
      caseOf,
      "keep",
    )
    .requiredOption(
      "--out <folder>",
      "where the model is written; the same command goes on with one that is unfinished",
    )
    .option(
      "--valid <file>",
      "text to judge it by; may be repeated (default: every 50th sentence)",
      collect,
      [],
    )
    .option("--epochs <n>", "how often every sentence is used", whole, 20)
    .option("--batch <n>", "sentences of an update", whole, 64)
    .option(
      "--lr <x>",
      "Adam's learning rate; it falls to 0.8 of it after an epoch without improvement",
      above,
      1e-3,
    )
    .option("--embedding <n>", "width of a symbol's embedding", whole, 128)
    .option("--layers <n>", "LSTM layers", whole, 2)
    .option("--neurons <n>", "units of each", whole, 2048)
    .option("--dense <n>", "width of the dense layer behind them", whole, 512)
    .option("--dropout <x>", "after the embedding and each layer", share, 0)
    .option("--seed <n>", "starting values and the order of sentences", whole, 1)
    .option("--threads <n>", "processor threads (default: all)", whole)
    .option("--skip-bad", "leave out sentences with other symbols, and count them")
    .option("--overwrite", "replace what the folder holds")
    .action(run);
}

async function run(files: string[], options: Options): Promise<void> {
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const vocabulary = unitsOf(options);
  if (vocabulary.size > 65_536)
    throw new UserError(`${options.units}: has ${vocabulary.size} symbols, more than 65536`);
  const [all, held] = [new Sentences(), new Sentences()];
  let bad = 0;
  for (const file of files) bad += await readSentences(file, vocabulary, all, options);
  for (const file of options.valid) bad += await readSentences(file, vocabulary, held, options);
  if (bad > 0) log(`${bad} sentences have symbols that ${options.units} lacks, and are left out`);
  const { train, valid } = options.valid.length > 0 ? { train: all, valid: held } : divided(all);
  if (train.count === 0 || valid.count === 0)
    throw new UserError(
      `${files[0]}: ${all.count} sentences are too few to train on some and judge by others`,
    );
  const { embedding, layers: rnnLayers, neurons: rnnNeurons, dense, dropout } = options;
  const settings = { embedding, rnnLayers, rnnNeurons, dnnNeurons: [dense], dropout };
  const config = { ...recurrentLmSettings.parse(settings), symbols: vocabulary.size };
  log(
    `${train.count} sentences of ${train.total} symbols, ${valid.count} to judge by; ${config.symbols} kinds`,
  );
  const { out } = options;
  const { signal, dispose } = interruptSignal("saving; the same command goes on from here");
  try {
    const result = await trainRecurrentLm({ ...options, config, vocabulary, train, valid, signal, log });
    const said =
      result.status === "finished"
        ? `${out}: perplexity ${result.perplexity!.toFixed(2)} on ${valid.count} sentences after ${result.steps} updates`
        : `${out}: stopped after ${result.steps} updates; the same command goes on`;
    printResult(options, { folder: out, ...result }, said);
    if (result.status === "interrupted") process.exitCode = 130;
  } finally {
    dispose();
  }
}

/** The symbols of a run's head, or of a SentencePiece model as a recipe's `pieces` has them. */
function unitsOf({ units, head, letterCase }: Options): Vocabulary {
  if (!existsSync(units)) throw new UserError(`--units ${units}: does not exist`);
  if (statSync(units).isFile()) {
    const pieces = piecesFor(units, [], letterCase);
    return buildVocabulary([], { unit: "pieces", letterCase, pieces });
  }
  const heads = [...readTargets(units)].flatMap(([name, target]) =>
    target.kind === "sequence" ? [{ name, vocabulary: target.vocabulary }] : [],
  );
  const chosen = head === undefined ? heads : heads.filter(({ name }) => name === head);
  const names = heads.map(({ name }) => name).join(", ");
  if (chosen.length === 0)
    throw new UserError(
      `--units ${units}: has no head of symbols${head === undefined ? "" : ` ${quote(head)}${names ? `; it has ${names}` : ""}`}`,
    );
  const [first, ...others] = chosen.map(({ vocabulary }) => vocabulary);
  if (others.some(({ symbols }) => symbols.join("\n") !== first.symbols.join("\n")))
    throw new UserError(
      `--units ${units}: has heads of different symbols (${names}); choose one with --head`,
    );
  return first;
}

function divided(all: Sentences): { train: Sentences; valid: Sentences } {
  const [train, valid] = [new Sentences(), new Sentences()];
  for (let i = 0; i < all.count; i++)
    (i % HELD === Math.min(HELD, all.count) - 1 ? valid : train).add(Array.from(all.at(i)));
  return { train, valid };
}

function caseOf(text: string): Options["letterCase"] {
  if (text === "keep" || text === "lower" || text === "upper") return text;
  throw new InvalidArgumentError("It must be keep, lower or upper.");
}

function above(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value < 1))
    throw new InvalidArgumentError("It must be a number from 0 to below 1.");
  return value;
}
