/** Errors of a detector that scores trials (speaker verification): equal error rate and detection cost. */

/** One point of the detection error trade-off: accepting scores of at least `threshold`. */
export interface OperatingPoint {
  threshold: number;
  /** Share of targets refused. */
  miss: number;
  /** Share of non-targets accepted. */
  falseAlarm: number;
}

/**
 * All operating points from "accept nothing" to "accept all"; equal scores are accepted together. `targets[i]` says
 * whether trial i is a target (true or non-zero). Throws where either kind of trial is missing.
 */
export function operatingPoints(
  scores: ArrayLike<number>,
  targets: ArrayLike<boolean | number>,
): OperatingPoint[] {
  if (scores.length !== targets.length)
    throw new RangeError(`${scores.length} scores but ${targets.length} target marks`);
  const order = Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const positives = order.filter((i) => targets[i]).length;
  const negatives = order.length - positives;
  if (positives === 0 || negatives === 0)
    throw new RangeError(`${positives} target and ${negatives} non-target trials: both are needed`);
  const points: OperatingPoint[] = [{ threshold: Infinity, miss: 1, falseAlarm: 0 }];
  let [hits, alarms] = [0, 0];
  order.forEach((trial, i) => {
    if (targets[trial]) hits++;
    else alarms++;
    const last = i + 1 === order.length || scores[order[i + 1]] !== scores[trial];
    if (last)
      points.push({ threshold: scores[trial], miss: 1 - hits / positives, falseAlarm: alarms / negatives });
  });
  return points;
}

/** Equal error rate: where miss and false alarm rates cross, on straight lines between operating points. */
export function equalErrorRate(
  scores: ArrayLike<number>,
  targets: ArrayLike<boolean | number>,
): { rate: number; threshold: number } {
  const points = operatingPoints(scores, targets);
  const crossed = points.findIndex(({ miss, falseAlarm }) => miss <= falseAlarm);
  const [before, after] = [points[crossed - 1], points[crossed]];
  const gap = before.miss - before.falseAlarm;
  const share = gap / (gap + after.falseAlarm - after.miss);
  const rate = before.miss + share * (after.miss - before.miss);
  // "Accept nothing" has no finite threshold to interpolate from.
  const threshold =
    before.threshold === Infinity
      ? after.threshold
      : before.threshold + share * (after.threshold - before.threshold);
  return { rate, threshold };
}

/**
 * Least detection cost (NIST SRE): min over thresholds of costMiss * prior * miss + costFalseAlarm * (1 - prior) *
 * falseAlarm, divided by the cost of the better blind decision, so that 1 means useless.
 */
export function minDetectionCost(
  scores: ArrayLike<number>,
  targets: ArrayLike<boolean | number>,
  { prior = 0.01, costMiss = 1, costFalseAlarm = 1 } = {},
): { cost: number; threshold: number } {
  const blind = Math.min(costMiss * prior, costFalseAlarm * (1 - prior));
  let best = { cost: Infinity, threshold: Infinity };
  for (const { threshold, miss, falseAlarm } of operatingPoints(scores, targets)) {
    const cost = (costMiss * prior * miss + costFalseAlarm * (1 - prior) * falseAlarm) / blind;
    if (cost < best.cost) best = { cost, threshold };
  }
  return best;
}
