// f16 to f32.
alias result = f32;
