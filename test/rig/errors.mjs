// @ts-check

/** The rig could not do its work: the message says what failed, why, and what to do. */
export class RigError extends Error {
  /** @override */
  name = 'RigError';
}

/** What was asked for makes no sense (exit code 2). */
export class RigUsageError extends Error {
  /** @override */
  name = 'RigUsageError';
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export const messageOf = error => (error instanceof Error ? error.message : String(error));
