"""Language-model providers: kinds as data, one file per wire protocol."""
