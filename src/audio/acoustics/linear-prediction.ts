/**
 * Linear prediction by the Levinson-Durbin recursion (Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63,
 * 1975): from autocorrelations r[0..order] the coefficients a of A(z) = 1 + sum a[k-1] z^-k, in place. All zero for
 * a silent frame. Returns the prediction error.
 */
export function levinsonDurbin(r: ArrayLike<number>, a: Float64Array): number {
  const order = a.length;
  a.fill(0);
  let error = r[0];
  for (let m = 1; m <= order && error !== 0; m++) {
    let sum = r[m];
    for (let i = 1; i < m; i++) sum += a[i - 1] * r[m - i];
    const reflection = -sum / error;
    for (let i = 1; i <= m >> 1; i++) {
      const lower = a[i - 1];
      const upper = a[m - i - 1];
      a[i - 1] = lower + reflection * upper;
      if (i !== m - i) a[m - i - 1] = upper + reflection * lower;
    }
    a[m - 1] = reflection;
    error *= 1 - reflection * reflection;
  }
  return error;
}
