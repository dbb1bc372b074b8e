// @ts-check
// Packages from the host's own Debian mirror, any suite, without root: apt runs on private state and never sees the host's.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './child.mjs';
import { RigError } from './errors.mjs';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const RELEASES = /^(oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)(-updates|-backports)?$/;
const SECURITY_RELEASES = /^[a-z]+-security$/;

/**
 * @typedef {object} Suite
 * @property {string} name
 * @property {(prefix: string) => Promise<string[]>} names  of packages that begin with `prefix`
 * @property {(packages: readonly string[], into: string) => Promise<void>} download
 */

/** @returns {string | undefined} this host's Debian release, such as bookworm */
export function hostRelease() {
  if (!existsSync('/etc/os-release')) return undefined;
  const text = readFileSync('/etc/os-release', 'utf8');
  return /^ID=debian$/m.test(text) ? /^VERSION_CODENAME=(\w+)$/m.exec(text)?.[1] : undefined;
}

/**
 * @param {string} targets  lines of `apt-get indextargets`: address, release
 * @param {string} suite
 * @returns {string | undefined} the address of the mirror that carries `suite`
 */
export function chooseMirror(targets, suite) {
  const wanted = SECURITY_RELEASES.test(suite) ? SECURITY_RELEASES : RELEASES;
  const rows = targets.split('\n').map(line => line.split(' '));
  return rows.find(([, release]) => release !== undefined && wanted.test(release))?.[0];
}

/**
 * Fetches the lists of one suite.
 * @param {string} name
 * @param {string} workspace
 * @param {import('./child.mjs').RunOptions} options
 * @returns {Promise<Suite>}
 */
export async function openSuite(name, workspace, options) {
  // Without --no-release-info nothing is printed while the host's lists are empty, as in a fresh container.
  const format = ['indextargets', '--no-release-info', '--format', '$(REPO_URI) $(RELEASE)'];
  const mirror = chooseMirror(await run('apt-get', format, options), name);
  if (mirror === undefined) throw new RigError(`apt on this host knows no Debian mirror for ${name}`);
  const env = { ...process.env, ...options.env, APT_CONFIG: writeConfig(name, mirror, join(workspace, `apt-${name}`)) };
  const privately = { ...options, env };
  await run('apt-get', ['-q', 'update'], privately);
  return {
    name,
    names: async prefix => (await run('apt-cache', ['pkgnames', prefix], privately)).split('\n').filter(Boolean),
    download: async (packages, into) => {
      mkdirSync(into, { recursive: true });
      await run('apt-get', ['-q', 'download', ...packages], { ...privately, cwd: into });
    },
  };
}

/**
 * @param {string} suite
 * @param {string} mirror
 * @param {string} state
 * @returns {string} the path of the apt configuration
 */
function writeConfig(suite, mirror, state) {
  mkdirSync(join(state, 'lists/partial'), { recursive: true });
  mkdirSync(join(state, 'cache/archives/partial'), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : '';
  writeFileSync(join(state, 'sources.list'), `deb ${signed}${mirror} ${suite} main\n`);
  const settings = {
    'Dir::Etc::sourcelist': join(state, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State': state,
    'Dir::State::status': join(state, 'status'),
    'Dir::State::lists': join(state, 'lists'),
    'Dir::Cache': join(state, 'cache'),
    'Dir::Cache::archives': join(state, 'cache/archives'),
    'Dir::Cache::pkgcache': '',
    'Dir::Cache::srcpkgcache': '',
    'APT::Sandbox::User': '',
    'APT::Update::Post-Invoke': '',
    'APT::Update::Post-Invoke-Success': '',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
  };
  const file = join(state, 'apt.conf');
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([key, value]) => `${key} "${value}";\n`)
      .join(''),
  );
  return file;
}
