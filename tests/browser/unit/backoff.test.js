import assert from 'node:assert/strict';
import test from 'node:test';
import { fullJitter, spread } from '../../../web/im-client/backoff.js';

test('the wait is anywhere below an exponential bound', () => {
  assert.equal(
    fullJitter(3, () => 0),
    0,
  );
  assert.equal(
    fullJitter(3, () => 0.5),
    2000,
  );
  assert.equal(
    fullJitter(0, () => 1),
    500,
  );
});

test('the bound stops growing', () => {
  assert.equal(
    fullJitter(1000, () => 1),
    30_000,
  );
});

test('a period is spread by a fifth either way', () => {
  assert.equal(
    spread(1000, () => 0),
    800,
  );
  assert.equal(Math.round(spread(1000, () => 1)), 1200);
});
