// Work for a just-in-time compiler, ROUNDS times: hot functions whose types change after compilation, classes, closures,
// generators, typed arrays, regular expressions, code made from text and dropped again. Prints results only.
'use strict';
const rounds = Number(process.argv[2]);

const mix = (sum, value) => (Math.imul(sum, 31) ^ value) | 0;

// Small integers first, then doubles, then strings: optimised code is left and made anew.
function unstable(values) {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i] * 2 % 7;
    return sum;
}

class Shape {
    constructor(size) { this.size = size; }
    area() { return this.size * this.size; }
}
class Circle extends Shape {
    area() { return Math.floor(super.area() * 3.14159); }
}
class Named extends Shape {
    constructor(size, name) { super(size); this.name = name; }
    area() { return super.area() + this.name.length; }
}
const areas = (shapes) => shapes.reduce((sum, shape) => sum + shape.area(), 0);

function fibonacci(n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

function typed(count, seed) {
    const bytes = new Uint8Array(count), words = new Int32Array(count), doubles = new Float64Array(count);
    for (let i = 0; i < count; i++) {
        bytes[i] = i * seed;
        words[i] = Math.imul(bytes[i], 0x9e3779b1) ^ i;
        doubles[i] = words[i] / (i + 1);
    }
    return doubles.reduce((sum, value, i) => (sum + Math.trunc(value) + words[i]) | 0, 0);
}

function* squares(count) { for (let i = 0; i < count; i++) yield i * i; }

function texts(seed) {
    let text = '';
    for (let i = 0; i < 300; i++) text += `item${i * seed % 97}=${i};`;
    const found = text.match(/item(\d+)=(\d+)/g).length;
    return found + text.replace(/(\d)(\d)/g, '$2$1').split(';').filter((part) => part.includes('9=')).length;
}

function made(seed) {
    let sum = 0;
    for (let k = 1; k <= 10; k++) {
        const own = new Function('s', `for (let i = 0; i < 2000; i++) s = (s * ${seed + k} + i) % ${10007 + k}; return s;`);
        sum += own(k);
    }
    return sum;
}

function thrown(count) {
    let sum = 0;
    for (let i = 0; i < count; i++) {
        try {
            if (i % 50 === 7) null.field;
            if (i % 70 === 9) throw i;
            sum += i;
        } catch (error) {
            sum += typeof error === 'number' ? error : 1;
        }
    }
    return sum;
}

let sum = 0;
for (let round = 1; round <= rounds; round++) {
    const values = Array.from({length: 5000}, (_, i) => round % 5 === 3 ? i + 0.25 : i);
    if (round % 7 === 5) values[2500] = '12';
    if (round % 11 === 9) values[100] = {valueOf: () => 3};
    const shapes = Array.from({length: 600}, (_, i) =>
        i % 3 === round % 4 ? new Circle(i) : i % 5 === 1 ? new Named(i, 'n' + i) : new Shape(i));
    const results = [unstable(values), areas(shapes), fibonacci(17 + round % 3), typed(4000, round),
        [...squares(500)].reduce((a, b) => a + b), texts(round), made(round), thrown(3000)];
    for (const value of results) sum = mix(sum, Math.floor(value * 8));
    console.log(round, sum, ...results);
    if (round % 6 === 0 && typeof gc === 'function') gc();
}
