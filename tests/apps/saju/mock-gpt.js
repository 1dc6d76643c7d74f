'use strict';
// A stand-in for a chat completions API: the same shapes, a large answer, a delay like the real one's.
// Everything in it is decided by the question and by how many came before: two runs are the same.
//
//   MOCK_PORT       3001; 0 picks one
//   MOCK_DELAY_MS   150-400: from, to
//   MOCK_ANSWER_KB  600: about how large an answer is

const http = require('node:http');

const [DELAY_FROM, DELAY_TO] = range(process.env.MOCK_DELAY_MS ?? '150-400');
const ANSWER_BYTES = Number(process.env.MOCK_ANSWER_KB ?? 600) * 1024;
const QUESTION_MAX = 64 * 1024;

function range(text) {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (!match) {
    console.error(`mock gpt: MOCK_DELAY_MS is FROM-TO in milliseconds, not ${text}`);
    process.exit(1);
  }
  return [Number(match[1]), Number(match[2] ?? match[1])];
}

/** Numbers in [0, 1) that look random and are not. */
function sequence(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return value >>> 0;
}

const PHRASES = {
  overall: [
    'A slow year bends toward a bright autumn.',
    'What you set down in spring is picked up by someone who needs it.',
    'Two roads look alike until the first rain; wait for it.',
    'The mountain does not move, but the path around it shortens.',
    'An old promise returns in a form that you can keep.',
  ],
  love: [
    'Someone who listens more than they speak is nearer than you think.',
    'Say the small thing today; the large one follows by itself.',
    'A quarrel over nothing ends with a shared meal.',
    'Let the letter rest one night before it is sent.',
  ],
  work: [
    'Finish what is nearly done before you begin what shines.',
    'A teacher appears in the second half of the year.',
    'Money comes as water does: keep the channel clean.',
    'Ask for the thing in writing, and in daylight.',
  ],
  health: [
    'Walk before breakfast; the rest is detail.',
    'Warm soup, early nights, and fewer screens.',
    'Your shoulders carry what your calendar should.',
    'Breathe out longer than you breathe in.',
  ],
};
const COLORS = ['indigo', 'persimmon', 'jade', 'ivory', 'crimson'];
const DIRECTIONS = ['east', 'south', 'west', 'north'];

function reading(next) {
  const pick = (list) => list[Math.floor(next() * list.length)];
  const some = (list) => [pick(list), pick(list), pick(list)].filter((text, i, all) => all.indexOf(text) === i).join(' ');
  return JSON.stringify({
    overall: some(PHRASES.overall),
    love: some(PHRASES.love),
    work: some(PHRASES.work),
    health: some(PHRASES.health),
    lucky: { color: pick(COLORS), number: 1 + Math.floor(next() * 9), direction: pick(DIRECTIONS) },
  });
}

/** A token as the API reports it, with the ones that it might have been. */
function scored(token, next) {
  const one = (text, logprob) => ({ token: text, logprob, bytes: [...Buffer.from(text)] });
  const logprob = -next() * 0.7;
  const others = Array.from({ length: 4 }, (_, i) => one(token.slice(i % token.length) + '·', logprob - 1 - next() * 5));
  return { ...one(token, logprob), top_logprobs: [one(token, logprob), ...others] };
}

function answer(question, count) {
  const next = sequence(hash(JSON.stringify(question.messages)) ^ count);
  const wanted = Math.min(Math.max(Number(question.n) || 1, 1), 8);
  const choices = [];
  let tokens = 0;
  for (let index = 0; index < wanted; index += 1) {
    const content = reading(next);
    const words = content.match(/\s*[\p{L}\p{N}]+|\s*[^\p{L}\p{N}]/gu) ?? [];
    const scores = [];
    if (question.logprobs) {
      // A real answer is as long as its model is talkative: the scored tokens go around until it is large enough.
      for (let size = 0; size < ANSWER_BYTES / wanted; ) {
        const score = scored(words[scores.length % words.length], next);
        scores.push(score);
        size += JSON.stringify(score).length + 1;
      }
    }
    tokens += Math.max(scores.length, words.length);
    choices.push({
      index,
      message: { role: 'assistant', content, refusal: null },
      logprobs: question.logprobs ? { content: scores, refusal: null } : null,
      finish_reason: 'stop',
    });
  }
  const asked = Math.ceil(JSON.stringify(question.messages).length / 4);
  return {
    id: `chatcmpl-mock${String(count).padStart(8, '0')}`,
    object: 'chat.completion',
    created: 1_700_000_000 + count,
    model: question.model ?? 'gpt-4o-mini',
    choices,
    usage: { prompt_tokens: asked, completion_tokens: tokens, total_tokens: asked + tokens },
    system_fingerprint: 'fp_mock',
  };
}

let served = 0;

function send(response, status, body) {
  const json = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': json.length });
  response.end(json);
}

function refuse(response, status, message) {
  send(response, status, { error: { message, type: 'invalid_request_error', param: null, code: null } });
}

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (request.method !== 'POST' || pathname !== '/v1/chat/completions') {
    return refuse(response, 404, `no such endpoint: ${request.method} ${pathname}`);
  }
  const chunks = [];
  let size = 0;
  request.on('error', () => response.destroy());
  request.on('data', (chunk) => {
    size += chunk.length;
    if (size <= QUESTION_MAX) chunks.push(chunk);
  });
  request.on('end', () => {
    if (size > QUESTION_MAX) return refuse(response, 413, 'the request is too large');
    let question;
    try {
      question = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    } catch {
      return refuse(response, 400, 'the body is no JSON');
    }
    if (!Array.isArray(question?.messages) || question.messages.length === 0) {
      return refuse(response, 400, 'messages: a list that is not empty');
    }
    const count = served++;
    const delay = DELAY_FROM + sequence(count * 2654435761)() * (DELAY_TO - DELAY_FROM);
    setTimeout(() => send(response, 200, answer(question, count)), delay);
  });
});

server.on('error', (error) => {
  console.error(`mock gpt: ${error.message}`);
  process.exit(1);
});
server.listen(Number(process.env.MOCK_PORT ?? 3001), '127.0.0.1', () => {
  const { port } = server.address();
  if (process.send) process.send({ port });
  else console.log(`mock gpt on http://localhost:${port}/v1/chat/completions`);
});
// Started by the app, it goes when the app goes, however that ends.
process.on('disconnect', () => process.exit(0));
// Ctrl-C in a terminal reaches both: the app decides.
if (process.send) process.on('SIGINT', () => {});
