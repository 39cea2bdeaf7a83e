import { type Candidates, candidateCount } from "./pitch-shs.ts";

/**
 * The course of F0 through the candidates of all frames: a Viterbi search over `candidateCount` voiced states and one
 * unvoiced state. Costs as in F. Eyben, "Real-time speech and music classification by large audio feature space
 * extraction" (Springer 2016), section 2.2.11, and as the reference implementation applies them; where the two
 * differ, the implementation's behaviour is kept, because the published eGeMAPS values come from it:
 * remaining unvoiced costs 1, and the delta-F0 term refers to the transition evaluated last.
 */
const states = candidateCount + 1;
const unvoiced = candidateCount;
const candidateValues = 2 * candidateCount;
const voicingThreshold = Math.fround(0.7);
const weightLocal = 2;
const weightJump = 10;
const weightDelta = 10;
const weightSwitch = 10;
const weightThreshold = 4;
const weightRange = 1;
const weightStayUnvoiced = 1;
const emptyCandidateCost = 999;

/** A search that takes one frame at a time and decides as early as it can, at the latest `bufferFrames` later. */
export class PitchPath {
  /** Hz, 0 where unvoiced; decided frames only. */
  readonly f0: Float32Array;
  /** Voicing strength of the chosen candidate, of the best one where unvoiced. */
  readonly voicing: Float32Array;
  /** How many frames are decided. */
  decided = 0;
  private taken = 0;
  /** Candidates of the last `bufferFrames` frames, and the paths that lead to each state, as rings. */
  private readonly ring: Float32Array;
  private paths: Uint8Array;
  private nextPaths: Uint8Array;
  private costs = new Float64Array(states);
  private nextCosts = new Float64Array(states);
  private lastJump = 1;
  private readonly bufferFrames: number;

  constructor(frames: number, bufferFrames: number) {
    this.bufferFrames = bufferFrames;
    this.f0 = new Float32Array(frames);
    this.voicing = new Float32Array(frames);
    this.ring = new Float32Array(bufferFrames * candidateValues);
    this.paths = new Uint8Array(states * bufferFrames);
    this.nextPaths = new Uint8Array(states * bufferFrames);
  }

  /** Takes the candidates of the next frame. */
  push(candidates: Candidates): void {
    const { bufferFrames, ring } = this;
    const t = this.taken++;
    const slot = t % bufferFrames;
    ring.set(candidates, slot * candidateValues);
    if (t === 0) {
      for (let s = 0; s < states; s++) {
        this.costs[s] = localCost(s, candidates);
        this.paths[s * bufferFrames] = s;
      }
    } else this.extend(candidates, ((t - 1) % bufferFrames) * candidateValues, slot);

    if (t + 2 - this.decided > bufferFrames) {
      this.decide(this.paths[this.cheapest() * bufferFrames + (this.decided % bufferFrames)]);
      return;
    }
    // Where all paths share their beginning, the future cannot change it.
    while (this.decided <= t) {
      const at = this.decided % bufferFrames;
      const state = this.paths[at];
      for (let s = 1; s < states; s++) if (this.paths[s * bufferFrames + at] !== state) return;
      this.decide(state);
    }
  }

  /** Decides the rest by the cheapest path; no frame may follow. */
  finish(): void {
    const best = this.cheapest() * this.bufferFrames;
    while (this.decided < this.taken) this.decide(this.paths[best + (this.decided % this.bufferFrames)]);
  }

  /** Finds the cheapest way to each state of this frame; the frame before starts at `before` in the ring. */
  private extend(candidates: Candidates, before: number, slot: number): void {
    const { bufferFrames, ring, costs, nextCosts, paths, nextPaths } = this;
    for (let to = 0; to < states; to++) {
      let best = 0;
      let bestCost = Number.POSITIVE_INFINITY;
      for (let from = 0; from < states; from++) {
        const cost = costs[from] + this.transition(to, from, ring[before + 2 * from], candidates[2 * to]);
        if (cost < bestCost) {
          bestCost = cost;
          best = from;
        }
      }
      nextCosts[to] = bestCost + localCost(to, candidates);
      nextPaths.set(paths.subarray(best * bufferFrames, (best + 1) * bufferFrames), to * bufferFrames);
      nextPaths[to * bufferFrames + slot] = to;
    }
    this.costs = nextCosts;
    this.nextCosts = costs;
    this.paths = nextPaths;
    this.nextPaths = paths;
  }

  private transition(to: number, from: number, hzBefore: number, hzNow: number): number {
    if (to !== unvoiced && from !== unvoiced) {
      if (hzBefore === 0 || hzNow === 0) return emptyCandidateCost;
      const jump = Math.log(Math.fround(hzNow / hzBefore));
      const cost = weightJump * Math.abs(jump) + weightDelta * Math.abs(jump - this.lastJump);
      this.lastJump = jump;
      return cost;
    }
    if (to === from) return weightStayUnvoiced;
    this.lastJump = 0;
    return weightSwitch;
  }

  private decide(state: number): void {
    const t = this.decided++;
    const at = (t % this.bufferFrames) * candidateValues;
    this.f0[t] = state === unvoiced ? 0 : this.ring[at + 2 * state];
    this.voicing[t] = this.ring[at + 2 * (state === unvoiced ? 0 : state) + 1];
  }

  private cheapest(): number {
    let best = 0;
    for (let s = 1; s < states; s++) if (this.costs[s] < this.costs[best]) best = s;
    return best;
  }
}

function localCost(state: number, candidates: Candidates): number {
  if (state === unvoiced) {
    for (let c = 0; c < candidateCount; c++) {
      if (candidates[2 * c + 1] >= voicingThreshold) return weightLocal * weightThreshold;
    }
    return 0;
  }
  const strength = Math.min(1, Math.max(0.01, candidates[2 * state + 1]));
  const penalty = strength < voicingThreshold ? weightThreshold : 0;
  return (penalty - Math.log(strength)) * weightLocal + rangeCost(candidates[2 * state]) * weightRange;
}

/** Voices lie between 100 and 350 Hz: piecewise linear cost outside. */
function rangeCost(hz: number): number {
  if (hz <= 0) return 2;
  if (hz < 100) return 1 - hz / 100;
  if (hz < 350) return 0;
  return hz < 600 ? (hz - 350) / 250 : 1.2;
}
