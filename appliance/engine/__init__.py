"""Work on tokens, without threads or sockets: schedule, decode, sample, reuse prefixes, shape output."""
