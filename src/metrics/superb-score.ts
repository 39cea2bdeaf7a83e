/**
 * The SUPERB score (Feng et al. 2023, SUPERB @ SLT 2022): each metric on the line from log-mel features (0) to the state of
 * the art (1000), averaged first within a task, then over tasks. Values beyond the end points are not clipped.
 */

export type SuperbMetric =
  | "PR"
  | "ASR"
  | "KS"
  | "QbE"
  | "SID"
  | "ASV"
  | "SD"
  | "ER"
  | "IC"
  | "SF_F1"
  | "SF_CER";

export interface EndPoints {
  task: string;
  metric: string;
  unit: string;
  /** Log-mel filter banks score 0 ... */
  fbank: number;
  /** ... the state of the art 1000 (Yang et al. 2024). Lower values are better where it lies below. */
  sota: number;
}

/** End points by column name. */
export const superbEndPoints: Readonly<Record<SuperbMetric, EndPoints>> = {
  PR: { task: "PR", metric: "phoneme error rate", unit: "%", fbank: 82.01, sota: 2.55 },
  ASR: { task: "ASR", metric: "word error rate", unit: "%", fbank: 23.18, sota: 3.36 },
  KS: { task: "KS", metric: "accuracy", unit: "%", fbank: 8.63, sota: 97.89 },
  QbE: { task: "QbE", metric: "maximum term-weighted value", unit: "", fbank: 0.0058, sota: 0.1125 },
  SID: { task: "SID", metric: "accuracy", unit: "%", fbank: 0.09, sota: 95.25 },
  ASV: { task: "ASV", metric: "equal error rate", unit: "%", fbank: 9.56, sota: 3.84 },
  SD: { task: "SD", metric: "diarization error rate", unit: "%", fbank: 10.05, sota: 3.47 },
  ER: { task: "ER", metric: "accuracy", unit: "%", fbank: 35.39, sota: 70.68 },
  IC: { task: "IC", metric: "accuracy", unit: "%", fbank: 10.44, sota: 99.34 },
  SF_F1: { task: "SF", metric: "slot-type F1", unit: "%", fbank: 69.64, sota: 92.35 },
  SF_CER: { task: "SF", metric: "slot-value character error rate", unit: "%", fbank: 52.92, sota: 17.61 },
};

export interface SuperbScore {
  score: number;
  /** Score of each task that was measured, 0 to 1000 between the end points. */
  tasks: Record<string, number>;
}

/** The score over the tasks whose metrics are given (per cent, except QbE); NaN for none. */
export function superbScore(results: Partial<Record<SuperbMetric, number>>): SuperbScore {
  const byTask = new Map<string, number[]>();
  for (const [name, { task, fbank, sota }] of Object.entries(superbEndPoints)) {
    const value = results[name as SuperbMetric];
    if (value === undefined) continue;
    byTask.set(task, [...(byTask.get(task) ?? []), 1000 * ((value - fbank) / (sota - fbank))]);
  }
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const tasks = Object.fromEntries([...byTask].map(([task, values]) => [task, mean(values)]));
  return { score: mean(Object.values(tasks)), tasks };
}
