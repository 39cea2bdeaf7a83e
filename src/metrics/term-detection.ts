/** Term-weighted value of spoken term detection (NIST STD 2006; Fiscus et al. 2007), as used for query by example. */

/** One term (query) with all its detections. */
export interface TermTrials {
  term: string;
  /** How often the term truly occurs. */
  targets: number;
  /** Trials in which it does not: seconds of speech (one trial a second) minus `targets`, or documents without the term. */
  nonTargets: number;
  detections: readonly { score: number; correct: boolean }[];
}

/** Weight of a false alarm, beta = (costFalseAlarm / costMiss) * (1 / prior - 1); 999.9 in NIST STD 2006. */
export function falseAlarmWeight({ prior = 1e-4, costMiss = 10, costFalseAlarm = 1 } = {}): number {
  return (costFalseAlarm / costMiss) * (1 / prior - 1);
}

/** Value at one threshold: 1 - mean over terms of (miss + beta * false alarm). Terms that never occur are left out. */
export function termWeightedValue(terms: readonly TermTrials[], beta: number, threshold: number): number {
  const scored = terms.filter(({ targets }) => targets > 0);
  const loss = scored.reduce((sum, { targets, nonTargets, detections }) => {
    const taken = detections.filter(({ score }) => score >= threshold);
    const hits = taken.filter(({ correct }) => correct).length;
    return sum + 1 - hits / targets + (beta * (taken.length - hits)) / nonTargets;
  }, 0);
  return 1 - loss / scored.length;
}

/** The largest value over all thresholds (one threshold for all terms); at least 0, the value of detecting nothing. */
export function maxTermWeightedValue(
  terms: readonly TermTrials[],
  beta: number,
): { value: number; threshold: number } {
  const scored = terms.filter(({ targets }) => targets > 0);
  const gains = scored
    .flatMap(({ targets, nonTargets, detections }) =>
      detections.map(({ score, correct }) => ({
        score,
        gain: (correct ? 1 / targets : -beta / nonTargets) / scored.length,
      })),
    )
    .sort((a, b) => b.score - a.score);
  let best = { value: 0, threshold: Infinity };
  let value = 0;
  gains.forEach(({ score, gain }, i) => {
    value += gain;
    // Equal scores are accepted together.
    if (gains[i + 1]?.score !== score && value > best.value) best = { value, threshold: score };
  });
  return best;
}
