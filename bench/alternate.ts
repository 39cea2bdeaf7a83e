import { loadavg } from "node:os";
import { median, ourWorker, peerWorker } from "./worker-process.ts";

/** One comparison: what is set up on our side and, where there is a peer, on its side. */
export interface Case {
  readonly name: string;
  readonly mode: string;
  readonly ours: Record<string, unknown>;
  readonly peer?: {
    readonly name: string;
    readonly program: "train_step" | "infer";
    readonly setup: Record<string, unknown>;
  };
}

export interface Row {
  name: string;
  mode: string;
  ours: { medianMs: number; minMs: number; peakMB: number; compileMs?: number };
  peer?: { name: string; medianMs: number; minMs: number; peakMB: number };
  /** Median over pairs of peer time / our time. */
  ratio?: number;
  pairs?: number[];
  /** One-minute load average when the rounds began: above 0.5 something else was running. */
  load: number;
}

/** Rounds that warm up: first allocations, first touches of memory. */
const WARM = 2;

/** Our step and the peer's in turn, each in a process of its own that stays warm. */
export async function alternate(c: Case, python: string | undefined, rounds: number): Promise<Row> {
  const load = loadavg()[0];
  const ours = ourWorker();
  await ours.ready;
  const built = await ours.ask({ cmd: "setup", ...c.ours });
  const peer = python !== undefined && c.peer !== undefined ? peerWorker(python, c.peer.program) : undefined;
  if (peer !== undefined) {
    await peer.ready;
    await peer.ask({ cmd: "setup", ...c.peer!.setup });
  }
  const times: { ours: number; peer: number }[] = [];
  for (let round = 0; round < WARM + rounds; round++) {
    const mine = (await ours.ask({ cmd: "step" })).ms as number;
    const theirs = peer === undefined ? 0 : ((await peer.ask({ cmd: "step" })).ms as number);
    if (round >= WARM) times.push({ ours: mine, peer: theirs });
  }
  const peak = async (process: typeof ours) =>
    Math.round((await process.ask({ cmd: "peak" })).peakMB as number);
  const summary = (key: "ours" | "peer") => {
    const values = times.map((time) => time[key]);
    return { medianMs: Math.round(median(values)), minMs: Math.round(Math.min(...values)) };
  };
  const row: Row = {
    name: c.name,
    mode: c.mode,
    ours: { ...summary("ours"), peakMB: await peak(ours), compileMs: Math.round(built.compileMs as number) },
    load,
  };
  if (peer !== undefined) {
    row.peer = { name: c.peer!.name, ...summary("peer"), peakMB: await peak(peer) };
    row.pairs = times.map((time) => Number((time.peer / time.ours).toFixed(3)));
    row.ratio = Number(median(row.pairs).toFixed(3));
    await peer.end();
  }
  await ours.end();
  return row;
}
