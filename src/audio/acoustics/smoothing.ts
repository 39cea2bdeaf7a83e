/**
 * Moving average over three frames. Beyond either end the outermost frame counts again. `frames` may be given to
 * smooth only the first frames of a column, as if it ended there.
 */
export function smooth3(column: Float32Array, frames = column.length): Float32Array {
  const out = new Float32Array(frames);
  for (let t = 0; t < frames; t++) {
    const left = column[Math.max(0, t - 1)];
    const right = column[Math.min(frames - 1, t + 1)];
    out[t] = (left + column[t] + right) / 3;
  }
  return out;
}

/** As `smooth3`, but a frame whose value is 0 stays 0 and counts for no other: the smoothing of voiced stretches. */
export function smoothVoiced(column: Float32Array, frames = column.length): Float32Array {
  const out = new Float32Array(frames);
  for (let t = 0; t < frames; t++) {
    const here = column[t];
    if (here === 0) continue;
    const left = column[Math.max(0, t - 1)];
    const right = column[Math.min(frames - 1, t + 1)];
    out[t] = (left + here + right) / (1 + (left !== 0 ? 1 : 0) + (right !== 0 ? 1 : 0));
  }
  return out;
}

/** A smoothed column and, as openSMILE tabulates it, the unsmoothed last value once more. */
export function withLast(smoothed: Float32Array, column: Float32Array): Float32Array {
  const out = new Float32Array(column.length + 1);
  out.set(smoothed);
  out[column.length] = column[column.length - 1];
  return out;
}

/**
 * `smoothVoiced` as openSMILE tabulates what depends on the pitch: around frame `decided`, where its pitch search stood
 * when the input ended, the column is smoothed as if it ended there and goes on with that value once.
 */
export function smoothVoicedTable(column: Float32Array, decided: number): Float32Array {
  const out = withLast(smoothVoiced(column), column);
  if (decided > 0 && decided < column.length) {
    out[decided - 1] = smoothVoiced(column, decided)[decided - 1];
    out[decided] = column[decided - 1];
  }
  return out;
}
