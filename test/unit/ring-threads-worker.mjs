/** Either side of ring-threads.test.ts, in a thread of its own; like every worker it runs the built library. */
import { parentPort, workerData } from 'node:worker_threads';
import { Chain } from '../../dist/ring/chain.js';
import { SplitDevice } from '../../dist/ring/split-device.js';
import { SplitDriver } from '../../dist/ring/split-driver.js';

const PATIENCE_MS = 5000;
const CHAIN_DESCRIPTORS = 2;

/** What an eventfd is between processes, between threads: a counter to wait on. */
class Bell {
  #words;
  #at;

  constructor(buffer, at) {
    this.#words = new Int32Array(buffer);
    this.#at = at;
  }

  count() {
    return Atomics.load(this.#words, this.#at);
  }

  ring() {
    Atomics.add(this.#words, this.#at, 1);
    Atomics.notify(this.#words, this.#at);
  }

  /** Returns once the bell has rung since `seen` was read; a bell that stays silent is a lost notification. */
  wait(seen) {
    if (Atomics.wait(this.#words, this.#at, seen, PATIENCE_MS) === 'timed-out') {
      throw new Error(`A notification was lost: bell ${this.#at} was silent for ${PATIENCE_MS} ms.`);
    }
  }
}

const { side, areas, size, base, bells, total, sleeps } = workerData;
const kick = new Bell(bells, 0);
const call = new Bell(bells, 1);
const deadline = performance.now() + 4 * PATIENCE_MS;

function checkTime(done) {
  if (performance.now() > deadline)
    throw new Error(`The ${side} had done ${done} of ${total} chains when time was up.`);
}

/** Makes numbered chains available and takes them back in the same order. */
function runDriver() {
  const driver = new SplitDriver(areas, size, base);
  parentPort.postMessage('ready'); // only now is there a ring for the device to look at
  const chain = new Chain(CHAIN_DESCRIPTORS);
  let added = 0;
  for (let returned = 0; returned < total; checkTime(returned)) {
    const seen = call.count();
    if (sleeps) driver.setInterrupts(false);
    added = addBatch(driver, chain, added);
    for (; driver.poll() >= 0; returned++) {
      if (driver.usedLength !== (returned & 0xff))
        throw new Error(`Chain ${returned} returned ${driver.usedLength} bytes.`);
    }
    const canAdd = added < total && driver.freeCount >= CHAIN_DESCRIPTORS;
    if (!sleeps || canAdd || returned === total) continue;
    driver.setInterrupts(true);
    if (!driver.hasUsed()) call.wait(seen);
  }
  driver.check();
}

function addBatch(driver, chain, from) {
  const end = Math.min(from + 1 + (from % 3), total);
  let added = from;
  while (added < end) {
    chain.reset();
    chain.push(added, 16, false);
    chain.push(added * 2, 256, true);
    if (driver.add(chain) < 0) break;
    added++;
  }
  if (added === from) return from;
  driver.publish();
  if (driver.shouldKick()) kick.ring();
  return added;
}

/** Takes chains, checks that each is whole and the next in sequence, returns them. */
function runDevice() {
  const device = new SplitDevice(areas, size, base);
  const chain = new Chain(size);
  for (let done = 0; done < total; checkTime(done)) {
    const seen = kick.count();
    if (sleeps) device.setNotify(false);
    done = serveBatch(device, chain, done);
    if (!sleeps || done === total) continue;
    device.setNotify(true);
    if (device.isEmpty()) kick.wait(seen);
  }
}

function serveBatch(device, chain, from) {
  let done = from;
  for (; device.pop(chain); done++) {
    const { count, addr, len } = chain;
    if (count !== CHAIN_DESCRIPTORS || addr[0] !== done || addr[1] !== done * 2 || len[0] !== 16 || len[1] !== 256) {
      throw new Error(`Chain ${done} holds ${count} buffers: ${addr}; ${len}.`);
    }
    device.push(chain.head, done & 0xff);
  }
  if (done === from) return from;
  device.publish();
  if (device.shouldCall()) call.ring();
  return done;
}

if (side === 'driver') runDriver();
else runDevice();
parentPort.postMessage('done');
