import { join } from "node:path";
import { ageBand } from "../../../corpus/age-bands.ts";
import { groupBy } from "../../../corpus/group.ts";
import { type Utterance, writeManifest } from "../../../corpus/manifest.ts";
import { UserError } from "../../../errors.ts";
import { random } from "../../../random.ts";
import type { ProbeTask } from "../../../superb/index.ts";
import { sharedParts } from "../../../superb/tasks/miniature.ts";
import { ageOf, phonemesOf, verificationOf } from "./probes.ts";
import type { Size, Task } from "./size.ts";

/** What is chosen from, pre-trained on and probed; the parts are those of recipes/splits/shared.json throughout. */
export interface Data {
  /** Folder with the manifest of the speech that models are pre-trained on. */
  readonly pretraining: string;
  readonly seconds: number;
  /** By task: the training speakers' utterances that the selection looks at, and the label of their classes. */
  readonly selection: Readonly<
    Record<Task, { utterances: readonly Utterance[]; label: string; frames: number }>
  >;
  readonly probes: Readonly<Record<Task, ProbeTask>>;
}

/** Writes the manifest of pre-training below `folder` and reads everything else. @throws UserError for what is missing */
export async function dataOf(root: string, folder: string, size: Size): Promise<Data> {
  const speech = sharedParts(root, "speechocean762");
  const train = speech.train.map(withBand);
  const short = (all: readonly Utterance[]) => all.filter((u) => (u.duration ?? 0) <= size.maxSeconds);
  const chosen: Utterance[] = [];
  let seconds = 0;
  for (const utterance of inTurns(short(train))) {
    if (seconds + utterance.duration! > 60 * size.minutes) break;
    seconds += utterance.duration!;
    chosen.push(utterance);
  }
  const valid = inTurns(short(speech.valid)).slice(0, size.valid);
  const pretraining = join(folder, "corpus");
  writeManifest(join(pretraining, "manifest.jsonl"), [
    ...chosen.map((u) => ({ ...u, split: "train" })),
    ...valid.map((u) => ({ ...u, split: "valid" })),
  ]);
  const few = (all: readonly Utterance[]) =>
    [...groupBy(all, ({ speaker = "" }) => speaker).values()].flatMap((own) =>
      [...own].sort((a, b) => a.duration! - b.duration! || (a.id < b.id ? -1 : 1)).slice(0, size.probeEach),
    );
  const heard = { train: few(speech.train), valid: few(speech.valid), test: few(speech.test) };
  return {
    ...{ pretraining, seconds },
    selection: {
      // Digits are the words of which each recording holds one; the paper takes words of LibriSpeech for its recogniser.
      phonemes: { utterances: sharedParts(root, "fsdd").train, label: "digit", frames: 10 },
      speakers: { utterances: short(train), label: "speaker", frames: 30 },
      age: { utterances: short(train), label: "ageBand", frames: 30 },
    },
    probes: {
      phonemes: phonemesOf(heard),
      speakers: await verificationOf(heard),
      age: ageOf(heard),
    },
  };
}

function withBand(utterance: Utterance): Utterance {
  const band = ageBand(Number(utterance.labels?.age));
  if (band === undefined)
    throw new UserError(
      `utterance "${utterance.id}" has age ${utterance.labels?.age}, which is in none of the bands`,
    );
  return { ...utterance, labels: { ...utterance.labels, ageBand: band } };
}

/** One utterance of each speaker, then another of each: the first so many are of all of them. */
function inTurns(utterances: readonly Utterance[]): Utterance[] {
  const bySpeaker = [...groupBy(utterances, ({ speaker = "" }) => speaker)].map(([name, own]) =>
    random(1, "pre-training", name).shuffle([...own]),
  );
  const most = Math.max(0, ...bySpeaker.map(({ length }) => length));
  return Array.from({ length: most }, (_, turn) =>
    bySpeaker.flatMap((own) => own.slice(turn, turn + 1)),
  ).flat();
}
