// Reports a failure, unless another invocation was first. The exchange is repeated because it may fail by chance.
fn fail(reason: u32, number: u32) {
    loop {
        let exchange = atomicCompareExchangeWeak(&failure[0], 0u, reason + 1u);
        if exchange.exchanged {
            atomicStore(&failure[1], number);
        }
        if exchange.exchanged || exchange.old_value != 0u {
            break;
        }
    }
}

// Whether `len` is `a * b`, without overflow.
fn is_product(len: u32, a: u32, b: u32) -> bool {
    if a == 0u {
        return len == 0u;
    }
    return len % a == 0u && len / a == b;
}
