/**
 * Learning-rate schedules as pure functions of the step, so that a resumed run needs no schedule state. Step 0 is
 * the first update. A duration is a number of steps, or a fraction of all steps where it is below 1.
 *
 * Each schedule returns a factor of the peak learning rate. Noam with a `dim` alone returns its paper's value
 * (`dim^-0.5 * min(n^-0.5, n * warmup^-1.5)`), which the learning rate multiplies like any factor.
 */
export type ScheduleSpec =
  | { name: "constant" }
  | { name: "linear"; warmup: number; finalScale: number }
  | { name: "warmup-hold-decay"; warmup: number; hold: number }
  | {
      name: "tri-stage";
      warmup: number;
      hold: number;
      decay: number;
      initialScale: number;
      finalScale: number;
    }
  | { name: "noam"; warmup: number; dim?: number }
  | { name: "inverse-sqrt"; warmup: number; initialScale: number }
  | NewBobSpec;

export interface NewBobSpec {
  name: "newbob";
  /** What the factor is multiplied by when the loss has not improved enough. */
  factor: number;
  /** The relative improvement of the validation loss below which the rate is lowered. */
  threshold: number;
  /** How many such evaluations are forgiven before each lowering. */
  patience: number;
}

export type Schedule = (step: number) => number;

/** Steps of a duration: itself, or that fraction of `totalSteps` truncated (as s3prl and fairseq truncate). */
export function durationSteps(duration: number, totalSteps: number): number {
  return duration < 1 ? Math.trunc(duration * totalSteps) : Math.trunc(duration);
}

/**
 * The factor of the peak learning rate at each step. For NewBob, whose factor follows the validation loss and not
 * the step, see `newBob`.
 */
export function schedule(spec: Exclude<ScheduleSpec, NewBobSpec>, totalSteps: number): Schedule {
  const stage = (duration: number) => durationSteps(duration, totalSteps);
  switch (spec.name) {
    case "constant":
      return () => 1;
    case "linear":
      return linear(stage(spec.warmup), totalSteps, spec.finalScale);
    case "warmup-hold-decay":
      return warmupHoldDecay(stage(spec.warmup), stage(spec.hold), totalSteps);
    case "tri-stage":
      return triStage(
        stage(spec.warmup),
        stage(spec.hold),
        stage(spec.decay),
        spec.initialScale,
        spec.finalScale,
      );
    case "noam":
      return noam(stage(spec.warmup), spec.dim);
    case "inverse-sqrt":
      return inverseSqrt(stage(spec.warmup), spec.initialScale);
  }
}

const clamp01 = (x: number) => Math.min(1, Math.max(0, x));

/** Up from 0 over `warmup` steps, then down in a straight line to `finalScale` at `totalSteps`. */
function linear(warmup: number, totalSteps: number, finalScale: number): Schedule {
  return (step) => {
    if (step < warmup) return step / warmup;
    const done = clamp01((step - warmup) / Math.max(1, totalSteps - warmup));
    return 1 + (finalScale - 1) * done;
  };
}

/** Speech-FT's schedule: 0 to 1, constant, then in a straight line to 0 at `totalSteps`. */
function warmupHoldDecay(warmup: number, hold: number, totalSteps: number): Schedule {
  const decay = Math.max(1, totalSteps - warmup - hold);
  return (step) => {
    if (step < warmup) return step / warmup;
    if (step < warmup + hold) return 1;
    return clamp01((totalSteps - step) / decay);
  };
}

/** SpecAugment's tri-stage schedule (Park et al. 2019) as fairseq runs it: the decay is exponential. */
function triStage(
  warmup: number,
  hold: number,
  decay: number,
  initialScale: number,
  finalScale: number,
): Schedule {
  const rate = -Math.log(finalScale) / Math.max(1, decay);
  return (step) => {
    if (step < warmup) return initialScale + ((1 - initialScale) * step) / warmup;
    if (step < warmup + hold) return 1;
    const into = step - warmup - hold;
    return into <= decay ? Math.exp(-rate * into) : finalScale;
  };
}

/**
 * "Attention is all you need", eq. 3, where n counts updates from 1; without `dim` scaled to a peak of 1, at the end of
 * the warm-up (as SpeechBrain does).
 */
function noam(warmup: number, dim?: number): Schedule {
  const rise = Math.max(1, warmup);
  const scale = dim === undefined ? rise ** 0.5 : dim ** -0.5;
  return (step) => {
    const n = step + 1;
    return scale * Math.min(n ** -0.5, n * rise ** -1.5);
  };
}

/** In a straight line from `initialScale` to 1 over `warmup` steps, then sqrt(warmup / step), as fairseq's. */
function inverseSqrt(warmup: number, initialScale: number): Schedule {
  return (step) => {
    if (step < warmup) return initialScale + ((1 - initialScale) * step) / warmup;
    return Math.sqrt(Math.max(1, warmup) / Math.max(1, step));
  };
}

/** NewBob's whole state: plain data, stored with a checkpoint. */
export interface NewBobState {
  factor: number;
  patienceLeft: number;
  lastLoss: number | null;
}

export function newBobStart(spec: NewBobSpec): NewBobState {
  return { factor: 1, patienceLeft: spec.patience, lastLoss: null };
}

/**
 * The state after one more validation loss: where the loss improved on the last one by less than `threshold`
 * (relatively), one unit of patience goes, or, if none is left, the factor is lowered (SpeechBrain's rule).
 */
export function newBob(spec: NewBobSpec, state: NewBobState, validationLoss: number): NewBobState {
  const next = { ...state, lastLoss: validationLoss };
  if (state.lastLoss === null) return next;
  const improvement = state.lastLoss === 0 ? 0 : (state.lastLoss - validationLoss) / state.lastLoss;
  if (improvement >= spec.threshold) return next;
  if (state.patienceLeft > 0) return { ...next, patienceLeft: state.patienceLeft - 1 };
  return { ...next, factor: state.factor * spec.factor, patienceLeft: spec.patience };
}
