/** Things that must all be done at an end. */

/**
 * Does them in order, each whatever becomes of those before it.
 * @throws the first failure, at the end.
 */
export async function finishAll(steps: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
