//! Inputs that are nearly right: pieces of the corpus, changed, repeated, nested and put together anew, by a seed.

/// Makes inputs; the same seed and corpus make the same ones.
pub(crate) struct Mutator<'c> {
    corpus: &'c [Vec<u8>],
    state: u64,
}

/// Longest input; most bugs show in short ones.
const BYTES_MAX: usize = 64 << 10;

/// What decoders look for, and what they must not fall for.
const TOKENS: [&[u8]; 48] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"0.1",
    b"-",
    b"--- ",
    b"...",
    b"&a ",
    b"*a",
    b"<<: ",
    b"- ",
    b"? ",
    b"!!str ",
    b"|",
    b">",
    b"'",
    b"$patch",
    b"$retainKeys",
    b"$setElementOrder/",
    b"~0",
    b"~1",
    b"/",
    b"/-",
    b"%2F",
    b"%",
    b"\xff",
    b"\xe2\x82",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
];

impl<'c> Mutator<'c> {
    pub(crate) fn new(seed: u64, corpus: &'c [Vec<u8>]) -> Mutator<'c> {
        Mutator { corpus, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
            input.truncate(BYTES_MAX);
        }
        input
    }

    /// xorshift64*: good enough to choose with, and the same everywhere.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { usize::try_from(self.random() >> 11).unwrap_or(0) % bound }
    }

    fn any(&mut self) -> &'c [u8] {
        let index = self.below(self.corpus.len());
        &self.corpus[index]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(10) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.state % 8);
                }
            }
            1 => input.truncate(at),
            2 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
            3 => {
                let token = TOKENS[self.below(TOKENS.len())];
                let end = (at + token.len()).min(input.len());
                input.splice(at..end, token.iter().copied());
            }
            // A piece goes, comes twice, or many times.
            4 => drop(self.piece(input).map(|(start, end)| input.drain(start..end).count())),
            5 | 6 => {
                if let Some((start, end)) = self.piece(input) {
                    let times = [1, 2, 30, 1000][self.below(4)];
                    let copies = input[start..end].repeat(times.min(BYTES_MAX / (end - start)));
                    input.splice(end..end, copies);
                }
            }
            // A piece takes the place of another: of this input, or of the corpus.
            7 | 8 => {
                let other = if self.below(2) == 0 { input.clone() } else { self.any().to_vec() };
                if let (Some((from, to)), Some((start, end))) = (self.piece(&other), self.piece(input)) {
                    input.splice(start..end, other[from..to].iter().copied());
                }
            }
            _ => {
                let (open, close) = [(&b"["[..], &b"]"[..]), (b"{\"a\":", b"}"), (b"(", b")")][self.below(3)];
                let depth = [1, 40, 130, 5000][self.below(4)];
                if let Some((start, end)) = self.piece(input) {
                    input.splice(end..end, close.repeat(depth));
                    input.splice(start..start, open.repeat(depth));
                }
            }
        }
    }

    /// A range that begins and ends where structure does, mostly.
    fn piece(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        let start = self.edge(input);
        let length = self.edge(&input[start..]).max(1);
        (start < input.len()).then(|| (start, (start + length).min(input.len())))
    }

    fn edge(&mut self, input: &[u8]) -> usize {
        let at = self.below(input.len() + 1);
        let is_edge = |byte: &u8| b"{}[],:\"\n /=.(".contains(byte);
        if self.below(4) == 0 { at } else { input[at..].iter().position(is_edge).map_or(at, |on| at + on) }
    }
}
