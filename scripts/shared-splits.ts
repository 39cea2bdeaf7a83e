/**
 * Writes recipes/splits/shared.json, the one division of ../shared/data that recipes, probes and benchmarks share:
 *   node --import tsx scripts/shared-splits.ts ../shared/data > recipes/splits/shared.json
 * Speakers are dealt with their gender and age group balanced; where no speaker is known, utterances are divided at random.
 */
import { join } from "node:path";
import { countBy, groupBy } from "../src/corpus/group.ts";
import { readManifest, type Utterance } from "../src/corpus/manifest.ts";
import { random } from "../src/random.ts";

type Lists = Record<"train" | "valid" | "test", string[]>;
const SEED = 1;
const data = process.argv[2] ?? "../shared/data";
const read = (name: string) => readManifest(join(data, name));

/** Of each group of like speakers, `test` and then `valid` of every `of` go to these parts. */
function bySpeaker(utterances: readonly Utterance[], assign: (speaker: string) => keyof Lists) {
  const lists: Lists = { train: [], valid: [], test: [] };
  for (const { id, speaker } of utterances) lists[assign(speaker!)].push(id);
  const speakers = Object.fromEntries(
    Object.entries(lists).map(([part, ids]) => {
      const members = utterances.filter((u) => ids.includes(u.id)).map((u) => u.speaker!);
      return [part, [...countBy(members, (s) => s).keys()].sort()];
    }),
  );
  return { by: "speakers", speakers, ...lists };
}

function balanced(utterances: readonly Utterance[], shares: { test: number; valid: number }) {
  const groups = groupBy(
    [...groupBy(utterances, (u) => u.speaker!).values()].map(([first]) => first),
    ({ labels }) => `${labels?.gender} ${Number(labels?.age) < 16 ? "child" : "adult"}`,
  );
  const part = new Map<string, keyof Lists>();
  for (const [key, members] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const order = random(SEED, "shared split", key).shuffle(members.map((u) => u.speaker!).sort());
    const tests = Math.round(shares.test * order.length);
    const valids = Math.round(shares.valid * order.length);
    order.forEach((speaker, i) => {
      part.set(speaker, i < tests ? "test" : i < tests + valids ? "valid" : "train");
    });
  }
  return bySpeaker(utterances, (speaker) => part.get(speaker)!);
}

function byChance(utterances: readonly Utterance[], name: string) {
  const order = random(SEED, "shared split", name).shuffle(utterances.map((u) => u.id).sort());
  const tenth = Math.round(order.length / 10);
  return {
    by: "random",
    note: "No speaker is known: a voice of the training part may be in the others.",
    train: order.slice(2 * tenth).sort(),
    valid: order.slice(tenth, 2 * tenth).sort(),
    test: order.slice(0, tenth).sort(),
  };
}

const digits: Record<string, keyof Lists> = { theo: "test", yweweler: "test", nicolas: "valid" };
const corpora = {
  fsdd: bySpeaker(read("fsdd"), (speaker) => digits[speaker] ?? "train"),
  speechocean762: balanced(read("speechocean762"), { test: 2 / 9, valid: 1 / 9 }),
  barista: byChance(read("barista"), "barista"),
  wakewords: byChance(read("wakewords"), "wakewords"),
};
process.stdout.write(`${JSON.stringify({ seed: SEED, corpora }, null, 1)}\n`);
