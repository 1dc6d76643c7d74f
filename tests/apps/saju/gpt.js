'use strict';
// The client of a chat completions API.
// Owns the request, its limits, and reading the answer. Knows nothing of the page or of fortunes' calendars.

const http = require('node:http');
const https = require('node:https');

const ANSWER_MAX = 8 * 1024 * 1024;
const TIMEOUT_MS = 15_000;

class ApiError extends Error {}

const agents = {
  'http:': [http, new http.Agent({ keepAlive: true })],
  'https:': [https, new https.Agent({ keepAlive: true })],
};

/** Sends one chat completion request; resolves with the parsed answer, rejects with an ApiError. */
function complete(url, key, body, signal) {
  return new Promise((resolve, reject) => {
    const [client, agent] = agents[url.protocol];
    const fail = (why) => reject(new ApiError(why));
    const json = JSON.stringify(body);
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(json) };
    if (key) headers.Authorization = `Bearer ${key}`;
    const request = client.request(url, { method: 'POST', agent, headers, signal, timeout: TIMEOUT_MS });
    request.on('timeout', () => request.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    request.on('error', (error) => fail(error.message || error.code));
    request.on('response', (response) => {
      const chunks = [];
      let size = 0;
      response.on('data', (chunk) => {
        size += chunk.length;
        if (size > ANSWER_MAX) return request.destroy(new Error('the answer is too large'));
        chunks.push(chunk);
      });
      response.on('error', (error) => fail(error.message));
      response.on('end', () => {
        if (response.statusCode !== 200) return fail(`it answered ${response.statusCode}`);
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch {
          fail('its answer is no JSON');
        }
      });
    });
    request.end(json);
  });
}

/** Asks for a reading of these pillars: three drafts, of which the one that the model was surest of is taken. */
async function readPillars(url, key, name, pillars, signal) {
  const answer = await complete(url, key, {
    model: 'gpt-4o-mini',
    n: 3,
    logprobs: true,
    top_logprobs: 5,
    response_format: { type: 'json_object' },
    messages: [
      {
        role: 'system',
        content: 'You read Korean saju. Answer in JSON: overall, love, work, health, and lucky {color, number, direction}.',
      },
      { role: 'user', content: JSON.stringify({ name, pillars }) },
    ],
  }, signal);
  const drafts = Array.isArray(answer?.choices) ? answer.choices : [];
  let best = null;
  for (const draft of drafts) {
    const reading = parseReading(draft?.message?.content);
    const confidence = confidenceOf(draft?.logprobs?.content);
    if (reading && (!best || confidence > best.confidence)) best = { reading, confidence };
  }
  if (!best) throw new ApiError('its answer has no reading');
  return { ...best, drafts: drafts.length, tokens: answer.usage?.total_tokens ?? null };
}

function parseReading(content) {
  try {
    const { overall, love, work, health, lucky } = JSON.parse(content);
    const whole = [overall, love, work, health].every((part) => typeof part === 'string') && lucky;
    return whole ? { overall, love, work, health, lucky } : null;
  } catch {
    return null;
  }
}

/** The geometric mean of the tokens' probabilities; 0 where there are none. */
function confidenceOf(tokens) {
  if (!Array.isArray(tokens) || tokens.length === 0) return 0;
  const sum = tokens.reduce((total, token) => total + token.logprob, 0);
  return Math.exp(sum / tokens.length);
}

module.exports = { ApiError, readPillars };
