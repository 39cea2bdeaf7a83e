/** Cholesky's decomposition of small dense matrices, row-major [n, n]: what covariances and ridge regression need. */

/** Lower triangle L with L L' = a. @throws RangeError where `a` is not positive definite */
export function cholesky(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
      if (i !== j) l[i * n + j] = sum / l[j * n + j];
      else if (sum > 0) l[i * n + i] = Math.sqrt(sum);
      else throw new RangeError(`the matrix is not positive definite (pivot ${i} is ${sum})`);
    }
  return l;
}

/** x with L L' x = b, for `columns` right-hand sides: b and x are [n, columns]. */
export function choleskySolve(l: Float64Array, n: number, b: Float64Array, columns = 1): Float64Array {
  const x = b.slice();
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < n; i++) {
      let sum = x[i * columns + c];
      for (let k = 0; k < i; k++) sum -= l[i * n + k] * x[k * columns + c];
      x[i * columns + c] = sum / l[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = x[i * columns + c];
      for (let k = i + 1; k < n; k++) sum -= l[k * n + i] * x[k * columns + c];
      x[i * columns + c] = sum / l[i * n + i];
    }
  }
  return x;
}

/** The inverse of L L'. */
export function choleskyInverse(l: Float64Array, n: number): Float64Array {
  const identity = new Float64Array(n * n);
  for (let i = 0; i < n; i++) identity[i * n + i] = 1;
  return choleskySolve(l, n, identity, n);
}

/** ln det(L L'). */
export const choleskyLogDet = (l: Float64Array, n: number): number =>
  2 * Array.from({ length: n }, (_, i) => Math.log(l[i * n + i])).reduce((a, b) => a + b, 0);
