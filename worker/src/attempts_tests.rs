mod empty{}
