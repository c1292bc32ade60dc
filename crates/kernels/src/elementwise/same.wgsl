// The same type on both sides: a copy.
alias result = scalar;
