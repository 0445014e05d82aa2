"""Language-model providers: one service for every profile, one file per wire protocol, keys and their health."""
