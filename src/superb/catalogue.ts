import { closest, UserError } from "../errors.ts";
import type { Prepare } from "./task.ts";

/** A task by its name; its module is loaded only when it is used, so that `--help` is immediate. */
export interface TaskEntry {
  readonly name: string;
  readonly summary: string;
  readonly prepare: Prepare;
}

/** Every task there is: the ten of SUPERB's score first. */
export const taskEntries: readonly TaskEntry[] = [
  {
    name: "pr",
    summary: "phoneme recognition, LibriSpeech train-clean-100, dev-clean, test-clean",
    prepare: async (...given) => (await import("./tasks/pr.ts")).pr(...given),
  },
  {
    name: "asr",
    summary: "speech recognition, LibriSpeech train-clean-100, dev-clean, test-clean",
    prepare: async (...given) => (await import("./tasks/asr.ts")).asr(...given),
  },
  {
    name: "ks",
    summary: "keyword spotting, Speech Commands v1, 12 classes",
    prepare: async (...given) => (await import("./tasks/ks.ts")).ks(...given),
  },
  {
    name: "qbe",
    summary: "query by example, QUESST 2014, English: maximum term-weighted value",
    prepare: async (...given) => (await import("./tasks/qbe.ts")).qbe(...given),
  },
  {
    name: "sid",
    summary: "speaker identification, VoxCeleb1 (iden_split.txt)",
    prepare: async (...given) => (await import("./tasks/sid.ts")).sid(...given),
  },
  {
    name: "asv",
    summary: "speaker verification, VoxCeleb1: equal error rate",
    prepare: async (...given) => (await import("./tasks/asv.ts")).asv(...given),
  },
  {
    name: "sd",
    summary: "speaker diarisation, Libri2Mix (wav16k, max, mix_both) with RTTM files: diarization error rate",
    prepare: async (...given) => (await import("./tasks/sd.ts")).sd(...given),
  },
  {
    name: "er",
    summary: "emotion recognition, IEMOCAP, five folds by session",
    prepare: async (...given) => (await import("./tasks/er.ts")).er(...given),
  },
  {
    name: "ic",
    summary: "intent classification, Fluent Speech Commands",
    prepare: async (...given) => (await import("./tasks/ic.ts")).ic(...given),
  },
  {
    name: "sf",
    summary: "slot filling, Audio SNIPS: slot-type F1 and slot-value character error rate",
    prepare: async (...given) => (await import("./tasks/sf.ts")).sf(...given),
  },
  {
    name: "st",
    summary: "speech translation, CoVoST 2 English to German: BLEU; no part of the score",
    prepare: async (...given) => (await import("./tasks/st.ts")).st(...given),
  },
  {
    name: "asr-zh",
    summary: "Mandarin speech recognition, Common Voice zh-CN: character error rate",
    prepare: async (...given) => (await import("./tasks/asr.ts")).asrZh(...given),
  },
  {
    name: "asv-plda",
    summary: "speaker verification of VoxCeleb1 as Zaiem et al. (2022) have it: x-vectors, PLDA",
    prepare: async (...given) => (await import("./tasks/asv.ts")).asvPlda(...given),
  },
  {
    name: "medley-solos",
    summary: "one of eight instruments, Medley-solos-DB: x-vector, accuracy",
    prepare: async (...given) => (await import("./tasks/instruments.ts")).medleySolos(...given),
  },
  {
    name: "openmic",
    summary: "which of 20 instruments are heard, OpenMIC-2018: a random forest each, mean F1",
    prepare: async (...given) => (await import("./tasks/instruments.ts")).openmic(...given),
  },
  {
    name: "mini-phonemes",
    summary: "phones of read English, speechocean762",
    prepare: async (root) => [(await import("./tasks/miniature.ts")).miniaturePhonemes(root)],
  },
  {
    name: "mini-speakers",
    summary: "54 speakers, speechocean762",
    prepare: async (root) => [(await import("./tasks/miniature.ts")).miniatureSpeakers(root)],
  },
  {
    name: "mini-keywords",
    summary: "six wake words",
    prepare: async (root) => [(await import("./tasks/miniature.ts")).miniatureKeywords(root)],
  },
  {
    name: "mini-slots",
    summary: "slot values of drink orders, barista",
    prepare: async (root) => [(await import("./tasks/miniature.ts")).miniatureSlots(root)],
  },
  {
    name: "mini-digits",
    summary: "digits by new speakers, FSDD",
    prepare: async (root) => [(await import("./tasks/miniature.ts")).miniatureDigits(root)],
  },
  {
    name: "mini-verification",
    summary: "the same voice or another, new speakers, speechocean762: equal error rate",
    prepare: async (root) => [await (await import("./tasks/miniature.ts")).miniatureVerification(root)],
  },
];

/** Names that stand for several tasks. */
export const taskGroups: Readonly<Record<string, readonly string[]>> = {
  /** What Speech-FT scores by: content, speaker, emotion, meaning. */
  mini: ["pr", "sid", "er", "sf"],
  all: taskEntries.slice(0, 10).map(({ name }) => name),
  /** S3-Router's Table 5, on upstreams that train. */
  router: ["ks", "sid", "asv", "sd", "er", "ic", "sf", "st"],
  miniature: taskEntries.map(({ name }) => name).filter((name) => name.startsWith("mini-")),
};

/** The entry of a task by its name, or by that of one of its folds ("er-session1"). @throws UserError where there is none */
export function entryOf(name: string): TaskEntry {
  const entry =
    taskEntries.find((each) => each.name === name) ??
    taskEntries.find((each) => name.startsWith(`${each.name}-`));
  if (entry === undefined) throw new UserError(`"${name}" is no task of \`voxsmith superb\``);
  return entry;
}

/** Tasks by names with commas, groups included; each once. @throws UserError for a name that is none */
export function tasksNamed(list: string): TaskEntry[] {
  const names = list.split(",").map((name) => name.trim());
  const wanted = new Set(names.flatMap((name) => taskGroups[name] ?? [name]));
  return [...wanted].map((name) => {
    const entry = taskEntries.find((each) => each.name === name);
    if (entry !== undefined) return entry;
    const known = [...Object.keys(taskGroups), ...taskEntries.map((each) => each.name)];
    const near = closest(name, known) ?? known.find((each) => each.endsWith(`-${name}`));
    throw new UserError(
      `--tasks: "${name}" is no task; ${near ? `did you mean ${near}?` : `there are ${known.join(", ")}`}`,
    );
  });
}
