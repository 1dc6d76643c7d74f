'use strict';
// The four pillars of a birth: year, month, day and hour in the cycle of sixty.
// Owns the calendar. Knows nothing of HTTP or of the API.
//
// Solar terms are taken at their usual dates, so a birth on the very day of a term may be off by one month;
// an almanac has the minute.

const STEMS = [...'갑을병정무기경신임계'];
const BRANCHES = [...'자축인묘진사오미신유술해'];
const ANIMALS = ['rat', 'ox', 'tiger', 'rabbit', 'dragon', 'snake', 'horse', 'sheep', 'monkey', 'rooster', 'dog', 'pig'];
const ELEMENTS = ['wood', 'fire', 'earth', 'metal', 'water'];
// The day of each month, January first, on which the next solar month begins.
const TERM_DAYS = [6, 4, 6, 5, 6, 6, 7, 8, 8, 8, 7, 7];

const mod = (a, n) => ((a % n) + n) % n;

function pillar(stem, branch) {
  const [s, b] = [mod(stem, 10), mod(branch, 12)];
  return { name: STEMS[s] + BRANCHES[b], element: ELEMENTS[s >> 1], animal: ANIMALS[b] };
}

/** Days since 1970-01-01 were a 신사 day, number 17 of the cycle. */
function dayNumber({ year, month, day }) {
  return Date.UTC(year, month - 1, day) / 86_400_000 + 17;
}

/**
 * @param {{year: number, month: number, day: number, hour: number | null}} birth
 * @returns {{year: object, month: object, day: object, hour: object | null}}
 */
function fourPillars(birth) {
  const { year, month, day, hour } = birth;
  // The solar month: 1 begins in February; the year begins with it.
  const begun = day >= TERM_DAYS[month - 1];
  const branchOfMonth = begun ? month : month - 1;
  const solarYear = month === 1 || (month === 2 && !begun) ? year - 1 : year;
  const yearStem = mod(solarYear - 4, 10);
  const monthsIn = mod(branchOfMonth - 2, 12);
  const days = dayNumber(birth);
  const branchOfHour = hour === null ? 0 : Math.floor((hour + 1) / 2) % 12;
  return {
    year: pillar(yearStem, solarYear - 4),
    month: pillar(yearStem * 2 + 2 + monthsIn, branchOfMonth),
    day: pillar(days, days),
    hour: hour === null ? null : pillar(mod(days, 10) * 2 + branchOfHour, branchOfHour),
  };
}

module.exports = { fourPillars };
