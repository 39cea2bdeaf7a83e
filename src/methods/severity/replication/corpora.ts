import { existsSync } from "node:fs";
import { join } from "node:path";
import { ageBand, ageBands } from "../../../corpus/age-bands.ts";
import { groupBy } from "../../../corpus/group.ts";
import { readManifest, type Utterance, writeManifest } from "../../../corpus/manifest.ts";
import { UserError } from "../../../errors.ts";
import { runVoxsmith } from "../study/child.ts";

/** The corpora of the miniature replication: graded by the simulator, and by what is really known of the speakers. */

export interface Size {
  readonly speakers: number;
  /** Utterances of each speaker. */
  readonly each: number;
}

/**
 * The shortest utterances of the speakers whose are shortest, taken from the bands in turn: time goes into runs, not
 * into seconds of audio. The label `ageBand` is added.
 */
export function selected(all: readonly Utterance[], { speakers, each }: Size): Utterance[] {
  const banded = all.map((utterance) => {
    const band = ageBand(Number(utterance.labels?.age));
    if (band === undefined)
      throw new UserError(
        `utterance "${utterance.id}" has age ${utterance.labels?.age}, which is in none of the bands`,
      );
    return { ...utterance, labels: { ...utterance.labels, ageBand: band } };
  });
  const voices = [...groupBy(banded, ({ speaker = "" }) => speaker).values()]
    .filter((of) => of.length >= each)
    .map((of) => {
      const shortest = [...of]
        .sort((a, b) => a.duration! - b.duration! || (a.id < b.id ? -1 : 1))
        .slice(0, each);
      return { shortest, seconds: shortest.reduce((sum, { duration = 0 }) => sum + duration, 0) };
    })
    .sort((a, b) => a.seconds - b.seconds);
  const queues = ageBands.map((name) => voices.filter(({ shortest }) => shortest[0].labels.ageBand === name));
  const chosen: Utterance[] = [];
  for (let taken = 0; taken < speakers; ) {
    const before = taken;
    for (const queue of queues) {
      const voice = taken < speakers ? queue.shift() : undefined;
      if (voice === undefined) continue;
      chosen.push(...voice.shortest);
      taken++;
    }
    if (taken === before)
      throw new UserError(
        `speechocean762: ${taken} speakers with ${each} utterances, but ${speakers} are wanted`,
      );
  }
  return chosen;
}

/** Writes both corpora below `folder`, or finds them there. Returns the folders of their manifests. */
export async function corpora(
  data: string,
  folder: string,
  size: Size,
  options: { signal: AbortSignal; log: (line: string) => void },
): Promise<{ age: string; simulated: string }> {
  const age = join(folder, "age", "corpus");
  const simulated = join(folder, "simulated", "corpus");
  const manifest = join(age, "manifest.jsonl");
  if (!existsSync(manifest))
    writeManifest(manifest, selected(readManifest(join(data, "speechocean762")), size));
  if (!existsSync(simulated)) {
    options.log("simulating five grades over the same recordings");
    await runVoxsmith(["corpus", "simulate", age, simulated, "--seed", "1"], {
      saidIn: `${simulated}.log`,
      signal: options.signal,
    });
  }
  return { age, simulated };
}
