import { type Command, InvalidArgumentError, Option } from "commander";
import type { Degradation } from "../corpus/degradation.ts";
import type { Utterance } from "../corpus/manifest.ts";
import {
  type Dimension,
  dimensions,
  grades,
  type SpeechProfile,
  speakerProfile,
  unchanged,
  utteranceProfile,
} from "../corpus/severity.ts";
import { UserError } from "../errors.ts";
import { random } from "../random.ts";
import { collect, newCommand, printResult, whole } from "./command.ts";
import { type ChangeOptions, changeCorpus, type Plan } from "./corpus-change.ts";
import { finite } from "./corpus-options.ts";

interface DegradeOptions extends ChangeOptions {
  json?: boolean;
  speed?: number;
  reverberation?: number;
  direct: number;
  noise?: number;
  color: "white" | "pink";
  noiseFile?: string;
  gain?: number;
  clipping?: number;
  codec?: Degradation & { kind: "codec" };
}

const shared = (command: Command): Command =>
  command
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .argument("<folder>", "the folder to make: audio and manifest.jsonl")
    .option("--seed <n>", "draws what is left to chance", whole, 1)
    .option("--skip-bad", "leave out and list bad manifest lines and recordings")
    .option("--threads <n>", "worker threads (default: one a core, at most 4)", whole);

/** Worse recordings of a corpus. */
export function degradeCommand(): Command {
  return shared(
    newCommand(
      "degrade",
      "Makes a corpus of worse recordings for tests of robustness. Several changes are made in the order of a recording: speed, room, noise, gain, clipping, codec.",
      ["corpus degrade manifest.jsonl noisy --noise 10 --codec telephone"],
    ),
  )
    .summary("make a corpus of worse recordings")
    .option("--speed <factor>", "tempo and pitch together, as a tape at another speed", finite)
    .option("--reverberation <seconds>", "a room: time in which sound falls by 60 dB", finite)
    .option("--direct <db>", "with it: power of direct to reverberant sound", finite, 0)
    .option("--noise <snr>", "noise at this ratio of speech to noise in dB", finite)
    .addOption(new Option("--color <name>", "of the noise").choices(["white", "pink"]).default("white"))
    .option("--noise-file <recording>", "a recording of noise instead")
    .option("--gain <db>", "louder or softer", finite)
    .option("--clipping <share>", "share of the samples that are clipped, 0 to 0.9", finite)
    .option("--codec <name>", "telephone (8 kHz, mu-law), or rounding to bits, such as 8bits", codec)
    .action(async (manifest: string, folder: string, options: DegradeOptions) => {
      const steps = degradations(options);
      if (steps.length === 0)
        throw new UserError(
          "nothing to change: give one of --speed, --reverberation, --noise, --gain, --clipping, --codec",
        );
      if (options.noiseFile !== undefined && options.noise === undefined)
        throw new UserError("--noise-file needs --noise, the ratio in dB");
      const change = { kind: "degrade", steps, noiseFile: options.noiseFile } as const;
      const result = await changeCorpus(manifest, folder, options, (utterances) =>
        utterances.map((utterance) => ({ utterance, change })),
      );
      printResult(options, { ...result, changes: steps }, `${result.out}: ${result.utterances} utterances`);
    });
}

function codec(text: string): Degradation & { kind: "codec" } {
  if (text === "telephone") return { kind: "codec", codec: "telephone" };
  const bits = /^(\d+)bits$/.exec(text);
  if (bits === null)
    throw new InvalidArgumentError("It must be telephone, or a number of bits such as 8bits.");
  return { kind: "codec", codec: "bits", bits: Number(bits[1]) };
}

function degradations(options: DegradeOptions): Degradation[] {
  const { speed, reverberation, direct, noise, color, gain, clipping, codec: coding } = options;
  return [
    ...(speed === undefined ? [] : [{ kind: "speed" as const, factor: speed }]),
    ...(reverberation === undefined
      ? []
      : [{ kind: "reverberation" as const, seconds: reverberation, direct }]),
    ...(noise === undefined ? [] : [{ kind: "noise" as const, snr: noise, color }]),
    ...(gain === undefined ? [] : [{ kind: "gain" as const, decibels: gain }]),
    ...(clipping === undefined ? [] : [{ kind: "clipping" as const, share: clipping }]),
    ...(coding === undefined ? [] : [coding]),
  ];
}

interface SimulateOptions extends ChangeOptions {
  json?: boolean;
  grade?: number;
  allGrades?: boolean;
  depth: string[];
}

/** Graded speech from any recordings. */
export function simulateCommand(): Command {
  return shared(
    newCommand(
      "simulate",
      "Turns recordings into simulated dysarthric speech of five grades (0 none to 4 severe), the label `severity`. For tests, demos and the comparison of methods: it is no clinical data, and manifests mark it `simulated`. Without further options each speaker gets one grade, evenly dealt.",
      [
        "corpus simulate manifest.jsonl graded",
        "corpus simulate manifest.jsonl slow --depth slowRate=0.8 --depth longPauses=0.5",
      ],
    ),
  )
    .summary("make simulated dysarthric speech of five grades")
    .option("--grade <n>", "the same grade, 0 to 4, for all", finite)
    .option("--all-grades", "every recording in each of the five grades")
    .option(
      "--depth <dimension=value>",
      `depths from 0 to 1 instead of grades; may be repeated: ${dimensions.join(", ")}`,
      collect,
      [],
    )
    .action(async (manifest: string, folder: string, options: SimulateOptions) => {
      const { grade, allGrades, depth, seed } = options;
      if ([grade !== undefined, allGrades === true, depth.length > 0].filter(Boolean).length > 1)
        throw new UserError("--grade, --all-grades and --depth exclude each other");
      if (grade !== undefined && !grades.some((each) => each === grade))
        throw new UserError(`--grade ${grade}: must be one of ${grades.join(", ")}`);
      const profile = depth.length > 0 ? givenProfile(depth) : undefined;
      const result = await changeCorpus(manifest, folder, options, (utterances) => {
        if (profile !== undefined)
          return utterances.map((utterance) => ({
            utterance,
            change: { kind: "simulate", profile } as const,
            simulated: true,
          }));
        if (allGrades)
          return utterances.flatMap((utterance) =>
            grades.map((each) => graded(utterance, each, seed, `${utterance.id}-grade${each}`)),
          );
        const dealt = grade === undefined ? dealGrades(utterances, seed) : undefined;
        return utterances.map((utterance) =>
          graded(utterance, grade ?? dealt!.get(speakerOf(utterance))!, seed),
        );
      });
      printResult(
        options,
        { ...result, simulated: true },
        `${result.out}: ${result.utterances} utterances, simulated`,
      );
    });
}

/** Where speakers are not known, each recording counts as one. */
const speakerOf = (utterance: Utterance) => utterance.speaker ?? utterance.id;

function graded(utterance: Utterance, grade: number, seed: number, id?: string): Plan {
  const speaker = speakerProfile(grade, speakerOf(utterance), seed);
  return {
    utterance,
    ...(id !== undefined && { id }),
    change: { kind: "simulate", profile: utteranceProfile(speaker, utterance.id, seed) },
    labels: { severity: grade },
    simulated: true,
  };
}

/** A grade for each speaker: even over all and, where genders are known, over each gender. */
function dealGrades(utterances: readonly Utterance[], seed: number): Map<string, number> {
  const gender = new Map(utterances.map((u) => [speakerOf(u), String(u.labels?.gender ?? "")]));
  const order = random(seed, "grades").shuffle([...gender.keys()].sort());
  order.sort((a, b) => (gender.get(a)! < gender.get(b)! ? -1 : gender.get(a)! > gender.get(b)! ? 1 : 0));
  return new Map(order.map((speaker, i) => [speaker, grades[i % grades.length]]));
}

function givenProfile(depths: readonly string[]): SpeechProfile {
  const profile = { ...unchanged };
  for (const text of depths) {
    const [name, value] = text.split("=");
    if (!(dimensions as readonly string[]).includes(name))
      throw new UserError(`--depth ${text}: the dimension must be one of ${dimensions.join(", ")}`);
    const depth = Number(value ?? Number.NaN);
    if (value === "" || !(depth >= 0 && depth <= 1))
      throw new UserError(`--depth ${text}: the depth must be a number from 0 to 1, as in ${name}=0.5`);
    profile[name as Dimension] = depth;
  }
  return profile;
}
