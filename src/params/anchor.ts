/**
 * L2 to the start (L2-SP, Li et al. 2018; the regularisation baseline of Speech-FT, section 5): adds lambda ||w - w0||^2 to the
 * loss. Its gradient 2 lambda (w - w0) is added to `gradients`, all three buffers over [start, end).
 * @returns lambda ||w - w0||^2 of the stretch
 */
export function addAnchor(
  gradients: Float32Array,
  weights: Float32Array,
  anchor: Float32Array,
  { start, end }: { readonly start: number; readonly end: number },
  lambda: number,
): number {
  let squares = 0;
  for (let i = start; i < end; i++) {
    const distance = weights[i] - anchor[i];
    squares += distance * distance;
    gradients[i] += 2 * lambda * distance;
  }
  return lambda * squares;
}
