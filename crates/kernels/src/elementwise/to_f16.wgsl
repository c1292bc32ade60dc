// f32 to f16.
alias result = f16;
