printf '2\tgreen tea\t900\n\ttax 19%%\t171\n\ttotal\t1071\n' | invoice
