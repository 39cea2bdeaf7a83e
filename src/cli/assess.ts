import { extname } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { UserError } from "../errors.ts";
import { Assessor, type SpeakerAssessment } from "../methods/severity/assess/assess.ts";
import { assessmentPage } from "../report/severity-assessment.ts";
import { writeAtomically } from "../weights/file.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  model?: string;
  pack?: string;
  backbone?: string;
  speaker?: string;
  text?: string;
  phones?: string;
  lexicon?: string;
  sessions?: string[];
  data?: string;
  out?: string;
  threads?: number;
}

/** `voxsmith assess`: a severity model's opinion of a speaker, with what it rests on. */
export function command(): Command {
  return newCommand(
    "assess",
    "Grades recordings of a speaker with a severity model: calibrated probabilities, or no grade and why; the phones heard beside those expected; clinical features beside those of the training speakers. A research aid, not a medical device.",
    [
      "assess a.wav b.wav --model runs/severity --text 'The garden gate is open.' --out report.html",
      "assess jan.wav jun.wav --model runs/severity --sessions January,June --data qolt --out report.html",
      "assess a.wav --pack severity.pack --backbone models/xlsr --out report.html",
    ],
  )
    .argument("<recording...>", "sound files of one speaker")
    .option("--model <run>", "the folder of a finished run with a severity objective")
    .option("--pack <file>", "a mask pack of such a run instead")
    .option("--backbone <model>", "the pack's backbone (default: where its run had it)")
    .option("--speaker <id>", "who speaks, for the report")
    .option("--text <words>", "what was read: in all recordings the same")
    .option("--phones <list>", "the phones of what was read, separated by spaces, instead of --text")
    .option("--lexicon <file>", "pronunciations of words that the training corpus does not have")
    .option("--sessions <list>", "a session for each recording, in order, separated by commas", names)
    .option("--data <folder>", "the run's corpus: makes the reference of its speakers, once")
    .option("--out <file>", "a report: .html, ready to print, or .json")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .action(async (paths: string[], options: Options) => {
      const { out, text, phones } = options;
      const kind = out === undefined ? undefined : extname(out).toLowerCase();
      if (kind !== undefined && kind !== ".html" && kind !== ".json")
        throw new UserError(`--out ${out}: must end in .html (which prints to PDF) or .json`);
      if (text !== undefined && phones !== undefined)
        throw new UserError("--text and --phones exclude each other");
      const model = options.model ?? options.pack;
      if (model === undefined || (options.model !== undefined && options.pack !== undefined))
        throw new InvalidArgumentError("assess: name a run with --model or a --pack, and not both");
      const assessor = await Assessor.open(model, options);
      try {
        const symbols = phones?.split(/\s+/).filter(Boolean);
        const result = await assessor.assess(paths, { ...options, symbols });
        const plain = withoutSamples(result);
        if (out !== undefined) {
          const document =
            kind === ".html" ? await assessmentPage(result) : `${JSON.stringify(plain, null, 2)}\n`;
          writeAtomically(out, (put) => put(Buffer.from(document)));
        }
        printResult(options, plain, summary(result, out));
      } finally {
        await assessor.dispose();
      }
    });
}

/** As JSON: everything but the sound. */
const withoutSamples = (result: SpeakerAssessment) => ({
  notice: NOTICE,
  ...result,
  recordings: result.recordings.map(({ samples, ...rest }) => rest),
});

const NOTICE = "A research aid, not a medical device: it must not decide on a diagnosis or a treatment.";

function summary(
  { recordings, pooled, classes, label, reference }: SpeakerAssessment,
  out: string | undefined,
): string {
  const percent = (value: number) => `${(100 * value).toFixed(0)} %`;
  const lines = recordings.map(({ name, grade, probabilities, abstained, heard }) =>
    grade === undefined
      ? `${name}: not graded, since ${abstained.join("; and ")}`
      : `${name}: ${label} ${grade} (${percent(Math.max(...probabilities))}); heard ${heard.map(({ symbol }) => symbol).join(" ") || "nothing"}`,
  );
  if (recordings.length > 1 && pooled.grade !== undefined)
    lines.push(
      `together: ${label} ${pooled.grade}; ${classes.map((name, k) => `${name} ${percent(pooled.probabilities[k])}`).join(", ")}`,
    );
  if (reference === undefined)
    lines.push(
      "no reference of the training speakers: with --data, the run's corpus, clinical features get their place and unusual recordings are noticed",
    );
  if (reference?.simulated)
    lines.push("the model learned from simulated speech: its grades say nothing about people");
  lines.push(NOTICE);
  if (out !== undefined) lines.push(`Report: ${out}`);
  return lines.join("\n");
}

function names(text: string): string[] {
  const list = text.split(",").map((name) => name.trim());
  if (list.includes(""))
    throw new InvalidArgumentError("It must be names with commas between, such as January,June.");
  return list;
}
